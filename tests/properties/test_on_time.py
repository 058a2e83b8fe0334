"""Over generated histories, the scheduler forwards what was published in time, late rather than never, and once.

The expectations come from what the model of the scheduler found, not from the columns in which the service notes it.
"""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal

import psycopg
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from event_service import handler, pipeline
from event_service.adapters.upkeep import merge
from event_service.config import Settings
from event_service.deadline import Deadline
from event_service.merging import announced_keys, merge_requests
from event_service.steps.parse import parse
from local.stack import Stack, create_database
from tests.support.aws import function_environment, make_aws
from tests.support.event_items import scan
from tests.support.messages import Record, native, raw
from tests.support.sampling import examples
from tests.support.scheduler import MINUTE, Forwarded, Scheduler, SimulatedClock
from tests.support.world import World

BEGIN = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)
COMMIT_TAKES = timedelta(seconds=5)
DAY = timedelta(hours=24)
REDELIVERED_AFTER = timedelta(seconds=60)

# The outcomes of a delivery. Killed, or without PostgreSQL, the function gets as far as this and the record comes back.
Fate = Literal["done", "killed at once", "killed after append", "killed after apply"]

_numbers = itertools.count()


@dataclass(frozen=True)
class Version:
    """An event of an item, when it was published, and how its deliveries go.

    Seconds count from the beginning of the history. Only a deletion may lack a `date`.
    """

    item: str
    published: float
    date: float | None
    delays: tuple[tuple[float, Fate], ...]
    effect: Literal["created", "updated", "deleted"] = "updated"


@dataclass(frozen=True)
class History:
    """Events, the moments of rebuilds, and an outage of PostgreSQL: from when, and how long."""

    versions: list[Version]
    rebuilds: list[float] = field(default_factory=list)
    outage: tuple[float, float] = (0, 0)


@dataclass(frozen=True, order=True)
class Step:
    """Something that happens: the delivery of an event, or a rebuild if there is no event."""

    at: datetime
    number: int
    event: "Published | None" = None
    fate: Fate = "done"


@dataclass(frozen=True, order=True)
class Published:
    """An event as the scheduler's minutes see it."""

    place: tuple[datetime, int, str]  # its precedence
    item: str = field(compare=False)
    published: datetime = field(compare=False)
    date: datetime | None = field(compare=False)
    record: Record = field(compare=False)

    @property
    def query(self) -> datetime:
        """When the scheduler queries for it."""
        assert self.date is not None
        return self.date - MINUTE


@dataclass
class Row:
    """The expected row of a notification: the deciding event, and when it is due."""

    event: Published
    due: datetime | None
    live_since: datetime
    announced: bool = False


@dataclass
class Expected:
    """The contract's rules about time, applied to what happens."""

    rows: dict[str, Row] = field(default_factory=dict)
    found: list[tuple[datetime, str, Published]] = field(default_factory=list)
    applied: dict[Published, datetime] = field(default_factory=dict)
    rescued: set[Published] = field(default_factory=set)

    def query(self, minute: datetime) -> None:
        """Note what the query at a minute must find."""
        for item, row in self.rows.items():
            if row.event.date is not None and row.due == minute + MINUTE:
                self.found.append((minute, item, row.event))

    def told_since(self, item: str, instant: datetime) -> bool:
        """Whether a query has found the item at this instant or later."""
        return any(name == item and at >= instant for at, name, _ in self.found)

    def apply(self, event: Published, now: datetime) -> None:
        """Apply an event as the function does."""
        row = self.rows.get(event.item)
        again = row is not None and row.event == event and not row.announced
        if row is not None and not again and event <= row.event:
            return
        rescue = self._rescue(event, now)
        if rescue is not None and again and row is not None and row.live_since <= event.query:
            rescue = None  # a rebuild had applied it in time
        if rescue is not None:
            self.rescued.add(event)
        if again and row is not None and rescue is None:
            row.announced = True
            return
        self.applied.setdefault(event, now)
        self.rows[event.item] = Row(event, rescue or event.date, now, announced=True)

    def rebuild(self, event: Published, now: datetime) -> None:
        """Merge a stored event as a rebuild does: nothing becomes due."""
        row = self.rows.get(event.item)
        if row is None or event > row.event:
            self.rows[event.item] = Row(event, event.date, now)

    def _rescue(self, event: Published, now: datetime) -> datetime | None:
        if event.date is None or event.published >= event.query:
            return None
        if now <= event.query - COMMIT_TAKES or now > event.query + DAY or self.told_since(event.item, event.published):
            return None
        next_query = (now + COMMIT_TAKES).replace(second=0, microsecond=0)
        if next_query < now + COMMIT_TAKES:
            next_query += MINUTE
        return next_query + MINUTE


@dataclass
class Run:
    """A history while it happens."""

    world: World
    environment: Mapping[str, str]
    scheduler: Scheduler
    begin: datetime
    user: str
    expected: Expected = field(default_factory=Expected)
    stored: dict[str, Published] = field(default_factory=dict)

    def step(self, step: Step) -> bool:
        """Let the time pass, and do something; return whether a delivered record was acknowledged."""
        self._advance(step.at)
        if step.event is None:
            self._rebuild(step.at)
            return True
        if step.fate == "done":
            self.world.accept(step.event.record)
        elif step.fate != "killed at once":
            _process(step.event.record, self.environment, applied=step.fate == "killed after apply")
        if step.fate != "killed at once":
            self.stored[step.event.record["messageId"]] = step.event
        if step.fate in ("done", "killed after apply"):
            self.expected.apply(step.event, step.at)
        return step.fate == "done"

    def _advance(self, to: datetime) -> None:
        before = len(self.scheduler.forwarded)
        minute = self.scheduler.clock.now.replace(second=0, microsecond=0) + MINUTE
        while minute <= to:
            self.expected.query(minute)
            minute += MINUTE
        self.scheduler.advance(to)
        found = [each for each in self.scheduler.forwarded[before:] if each.user_id == self.user]
        assert [_identity(each) for each in sorted(found, key=lambda each: (each.at, each.item_id))] == [
            (at, item, event.place[0])
            for at, item, event in sorted(self.expected.found, key=lambda each: each[:2])
            if at > self._checked
        ]
        self._checked = to

    _checked: datetime = BEGIN - timedelta(days=1)

    def finish(self) -> None:
        """Let everything that is due be forwarded."""
        dates = [row.due for row in self.expected.rows.values() if row.due]
        self._advance(max([self.scheduler.clock.now, *dates]) + 2 * MINUTE)

    def _rebuild(self, now: datetime) -> None:
        items = [item for item in scan(self.world.aws) if item.get("userId", {}).get("S") == self.user]
        announced = announced_keys(items, lambda ids: {*ids} & self.world.facts_stored().keys())
        for requests in merge_requests(items, announced, _refuse):
            assert merge(self.scheduler.clock.connection, "notifications", requests) == []  # type: ignore[arg-type]
        for event in sorted(self.stored.values()):
            self.expected.rebuild(event, now)


def _identity(found: Forwarded) -> tuple[datetime, str, datetime]:
    return found.at, found.item_id, found.version


def _refuse(key: tuple[str, str], reason: str) -> None:
    raise AssertionError(f"{key}: {reason}")


def _process(record: Record, environment: Mapping[str, str], *, applied: bool) -> None:
    """Take a record through the steps of the pipeline as far as a process got that was killed."""
    relay = handler.build(Settings.from_environment(environment)).backends.relay
    achieved, deadline, parsed = pipeline.Achieved(), Deadline.after(20), {0: parse(record)}
    assert pipeline.append(parsed, achieved, relay, deadline) == {}
    if applied:
        projected, failures = pipeline._project({0: achieved.appended[0].event}, parsed)
        assert failures == {}
        assert pipeline.apply(projected, achieved, relay, deadline)[0] == {}


def _steps(run: Run, history: History) -> Iterator[Step]:
    """Yield everything that happens, in order: records that were not acknowledged come back."""
    numbers = itertools.count()
    waiting = [Step(run.begin + timedelta(seconds=at), next(numbers)) for at in history.rebuilds]
    fates: dict[str, Iterator[tuple[float, Fate]]] = {}
    for number, version in enumerate(history.versions):
        event = _published(run, number, version)
        fates[event.record["messageId"]] = deliveries = iter(version.delays)
        delay, fate = next(deliveries)
        waiting.append(Step(event.published + timedelta(seconds=delay), next(numbers), event, fate))
    down_from = run.begin + timedelta(seconds=history.outage[0])
    down_until = down_from + timedelta(seconds=history.outage[1])
    while waiting:
        waiting.sort()
        step = waiting.pop(0)
        if step.event is not None and down_from <= step.at < down_until and step.fate != "killed at once":
            step = Step(step.at, step.number, step.event, "killed after append")
        yield step
        if step.event is None:
            continue
        # A record that was acknowledged may still be delivered again (SQS is at-least-once).
        again = next(fates[step.event.record["messageId"]], None)
        if again is None and step.fate != "done":
            again = 0.0, "done"
        if again is not None:
            at = step.at + REDELIVERED_AFTER + timedelta(seconds=again[0])
            waiting.append(Step(at, next(numbers), step.event, again[1]))


def _published(run: Run, number: int, version: Version) -> Published:
    at = run.begin + timedelta(seconds=version.published)
    date = None if version.date is None else run.begin + timedelta(seconds=version.date)
    effect = "deleted" if date is None else version.effect
    occurred_at = at.isoformat(timespec="milliseconds")
    body = native(
        id=f"{run.user}-{number:02}",
        userId=run.user,
        itemId=version.item,
        eventType=f"reminder:{effect}",
        occurredAt=occurred_at,
        eventData={} if date is None else {"date": date.isoformat()},
    )
    record = raw(body, sent=occurred_at)
    rank = ("created", "updated", "deleted").index(effect)
    return Published((at, rank, body["id"]), version.item, at, None if effect == "deleted" else date, record)


@pytest.fixture(scope="module")
def scheduled(stack: Stack, migrated_template: str) -> Iterator[tuple[World, dict[str, str], SimulatedClock]]:
    """A world with a simulated clock."""
    url = create_database(stack, "on_time", migrated_template)
    world = World(make_aws(stack), url)
    with psycopg.connect(url, autocommit=True) as connection, pytest.MonkeyPatch.context() as patch:
        environment = function_environment(stack, world.aws, url)
        for name, value in environment.items():
            patch.setenv(name, value)
        connection.execute("SET TimeZone = 'UTC'")
        yield world, environment, SimulatedClock(connection, BEGIN)
    world.close()


_fates: st.SearchStrategy[Fate] = st.sampled_from(
    ["done", "done", "killed at once", "killed after append", "killed after apply"]
)
_delays = st.sampled_from([0.2, 0.2, 0.2, 3.0, 30.0, 55.0, 61.0, 130.0, 400.0, 25 * 3600.0])
_versions = st.builds(
    Version,
    item=st.sampled_from(["a", "a", "b"]),
    published=st.sampled_from([0.0, 5.5, 20.0, 54.0, 56.5, 59.999, 60.0, 61.0, 90.0, 115.25, 150.0, 240.5]),
    date=st.sampled_from([None, 0.0, 60.0, 120.0, 120.0, 180.0, 180.0, 240.0, 300.0, 420.0, 150.5]),
    delays=st.lists(st.tuples(_delays, _fates), min_size=1, max_size=3).map(tuple),
    effect=st.sampled_from(["created", "updated", "updated", "deleted"]),
)
_histories = st.builds(
    History,
    versions=st.lists(_versions, min_size=1, max_size=6),
    rebuilds=st.lists(st.sampled_from([10.0, 58.0, 63.0, 121.0, 185.0, 250.0, 500.0]), max_size=2),
    outage=st.tuples(st.sampled_from([0.0, 57.0, 100.0]), st.sampled_from([0.0, 0.0, 3.0, 65.0, 300.0])),
)

# Random histories hardly ever come to these: the person was told of an earlier version of the row, or was not.
FOUND_THEN_REPLACED = History(
    [
        Version("a", 0, 120, ((0.2, "done"),)),
        Version("a", 54, 300, ((30.0, "done"),)),
        Version("a", 56.5, 180, ((130.0, "done"),)),
    ]
)
FOUND_THEN_MERGED = History(
    [
        Version("a", 0, 120, ((0.2, "done"),)),
        Version("a", 54, 300, ((0.2, "killed after append"), (400.0, "done"))),
        Version("a", 56.5, 180, ((130.0, "done"),)),
    ],
    rebuilds=[63.0],
)
MERGED_THEN_RESCUED = History(
    [
        Version("a", 0, 120, ((0.2, "killed after append"), (30.0, "done"))),
        Version("a", 90, 180, ((61.0, "done"),)),
    ],
    rebuilds=[63.0],
)
# The query that found the rescued version counts, whether its row was new or not.
RESCUED_THEN_REPLACED = History(
    [
        Version("a", 0, 120, ((61.0, "done"),)),
        Version("a", 90, 180, ((61.0, "done"),)),
        Version("b", 0, 600, ((0.2, "done"),)),
        Version("b", 20, 120, ((61.0, "done"),)),
        Version("b", 90, 180, ((61.0, "done"),)),
    ]
)
DELETED_WITH_A_DATE = History(
    [
        Version("a", 0, 120, ((0.2, "done"),)),
        Version("a", 5.5, 120, ((0.2, "done"),), "deleted"),
        Version("a", 20, 120, ((61.0, "done"),)),
    ]
)
TOLD_BEFORE_IT_WAS_PUBLISHED = History(
    [Version("a", 0, 120, ((0.2, "done"),)), Version("a", 61, 180, ((61.0, "done"),))],
)
MISSED_BECAUSE_TOLD = History(
    [
        Version("a", 0, 120, ((0.2, "done"),)),
        Version("a", 56.5, 180, ((73.5, "done"),)),
        Version("a", 90, 240, ((130.0, "done"),)),
    ]
)
MISSED_BY_A_DAY = History(
    [
        Version("a", 0, 120, ((25 * 3600.0, "done"),)),
        Version("a", 20, 90_300, ((90_280.0, "done"),)),
    ]
)


def _run(scheduled: tuple[World, dict[str, str], SimulatedClock], history: History) -> Run:
    world, environment, clock = scheduled
    number = next(_numbers)
    begin = BEGIN + timedelta(days=2 * number)
    clock.set(begin - timedelta(seconds=1))
    run = Run(world, environment, Scheduler(clock), begin, f"user-{number}", _checked=begin - timedelta(seconds=1))
    for step in _steps(run, history):
        run.step(step)
    run.finish()
    return run


def _in_time(history: History, run: Run) -> list[Published]:
    events = [_published(run, number, version) for number, version in enumerate(history.versions)]
    return [event for event in events if event.date is not None and event.published < event.query]


@settings(
    max_examples=examples(40, 600),
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(history=_histories)
@example(History([Version("a", 0, 120, ((61.0, "done"),))]))
@example(History([Version("a", 0, 120, ((0.2, "killed after apply"), (0.0, "done")))]))
@example(History([Version("a", 0, 120, ((0.2, "killed after append"),))], rebuilds=[10.0]))
@example(History([Version("a", 0, 120, ((0.2, "killed after append"), (30.0, "done")))], rebuilds=[63.0]))
@example(History([Version("a", 0, 120, ((0.2, "done"),)), Version("a", 20, 120, ((61.0, "done"),))]))
@example(History([Version("a", 0, 180, ((57.0, "killed after append"), (0.0, "done")))], rebuilds=[63.0]))
@example(History([Version("a", 0, 120, ((61.0, "done"),)), Version("a", 54, None, ((55.0, "done"),))]))
@example(FOUND_THEN_REPLACED)
@example(FOUND_THEN_MERGED)
@example(MERGED_THEN_RESCUED)
@example(RESCUED_THEN_REPLACED)
@example(DELETED_WITH_A_DATE)
@example(TOLD_BEFORE_IT_WAS_PUBLISHED)
@example(MISSED_BECAUSE_TOLD)
@example(MISSED_BY_A_DAY)
@example(History([Version("a", 0, 120, ((115.0, "done"),))]))
@example(History([Version("a", 0, 150.5, ((0.2, "done"),)), Version("a", 20, 120, ((90.0, "done"),))]))
def test_what_was_published_in_time_is_forwarded_late_rather_than_never_and_once(
    scheduled: tuple[World, dict[str, str], SimulatedClock], history: History
) -> None:
    """Every query finds exactly what the contract says, and the guarantees follow from it."""
    run = _run(scheduled, history)
    found = run.expected.found
    assert len({(item, event.place) for _, item, event in found}) == len(found), "a version was forwarded twice"
    for at, _, event in found:
        assert at >= event.published
        if at != event.query:
            assert event.published < event.query, "made due although published too late"
            late = max(run.expected.applied[event], event.query - COMMIT_TAKES) - event.query
            assert at - event.query <= max(late, timedelta(0)) + 2 * MINUTE
    for event in _in_time(history, run):
        row = run.expected.rows[event.item]
        late = run.expected.applied.get(event, row.live_since) - event.query
        if row.event == event and late <= DAY and (event.query.second == 0 or late > timedelta(0)):
            told = run.expected.told_since(event.item, event.published)
            assert told, "published in time, and never forwarded"
