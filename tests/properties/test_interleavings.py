"""Deliveries, a rebuild, an erasure and a settlement of one item, interleaved at the boundaries of their statements.

Statements are atomic, so what can happen depends on their order alone. Two deliveries and a rebuild page have 34,650
orders. 2,774 of these are left if orders that differ only in statements of different backends, which cannot meet, count
once: `make verify` runs them all for each history, `make test` every 139th. With a settlement there are 15,765,750
orders, with an erasure of about 20 statements 217,567,350, and with everything more than 10^15: of these, `make verify`
runs 1,000 for each history (500 of the last), `make test` 10 (5), drawn at random and the same every time.
"""

import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pytest

from event_service.adapters.upkeep import pending_facts
from event_service.config import DatabaseSettings
from event_service.deadline import Deadline
from event_service.domain.facts import fact_id
from event_service.forget.erasure import Erasure, erase
from event_service.rebuild.progress import RebuildJob, add_facts
from event_service.rebuild.segment import _merge_page
from event_service.steps.relay import Relay, Relayed, acknowledge, publish
from tests.support.aws import Aws
from tests.support.deliveries import Lane, delivery
from tests.support.interleaving import Actor, Pausing, every_order, interleave, some_orders, stepwise
from tests.support.messages import text
from tests.support.oracle import Event
from tests.support.sampling import FULL, sample
from tests.support.told import Notification, effect, precedence

SECRET = "hunter2-secret"
DELIVERY, PAGE, SETTLEMENT, ERASURE = "DPDP", "PDDP", "PDP", 20


class History(NamedTuple):
    """The events of an item, by type and second, and which of them the two deliveries have."""

    first: list[int]
    second: list[int]
    events: list[tuple[str, int]]


CREATED, UPDATED, DELETED = "reminder:created", "reminder:updated", "reminder:deleted"
LIFE = [(CREATED, 1), (UPDATED, 2), (DELETED, 3)]
HISTORIES = {
    "a life twice": History([0, 1, 2], [0, 1, 2], LIFE),
    "the middle comes apart": History([0, 2], [1], LIFE),
    "the end comes first": History([2], [0, 1], [(CREATED, 1), ("notification:delete", 2), (CREATED, 3)]),
    "a deletion first": History([0], [1, 2], [(DELETED, 1), (CREATED, 2), (DELETED, 3)]),
    "one instant, two streams": History([0, 1], [1, 2], [("notification:create", 1), (UPDATED, 1), (DELETED, 1)]),
}
_numbers = itertools.count()


@dataclass
class Run:
    """One interleaving: the events of a fresh item, and what the contract makes of what has happened to it so far."""

    lane: Lane
    events: list[Event]
    stored: set[Event] = field(default_factory=set)
    forgotten: set[Event] = field(default_factory=set)
    expected: Notification = field(default_factory=Notification)

    def deliver(self, chosen: Sequence[int], relay: Relay) -> Actor:
        """A delivery as the pipeline handles it: append, apply, store and publish, acknowledge."""
        events = [self.events[number] for number in chosen]
        yield
        for step in delivery(events, relay):
            if step == "appended":
                self.stored |= set(events)
            elif step == "applied":
                self.expected.apply(events)
            if step != "acknowledged":
                yield

    def settle(self, relay: Relay) -> Actor:
        """Publish what others left in the outbox, as if that were an hour ago."""
        deadline = Deadline.after(60)
        yield
        self.lane.connection.execute("UPDATE outbox SET committed_at = committed_at - interval '1 hour'")
        _, claimed = acknowledge([], relay, deadline, claim=True)
        yield
        assert publish(claimed, Relayed(), relay, deadline) == {}
        yield
        assert acknowledge([fact.key for fact in claimed], relay, deadline, claim=False)[0] == {}

    def rebuild(self) -> Actor:
        """A page of a rebuild: facts that wait, facts that are stored, events, and the merge."""
        connection = self.lane.connection
        yield
        facts = {fact_id(fact.pk, fact.sk, fact.kind) for fact in pending_facts(connection)}
        yield
        facts |= {item["id"]["S"] for item in self.lane.read(self.fact_stream)}
        yield
        items = [item for pk in sorted({event.pk for event in self.events}) for item in self.lane.read(pk)]
        page = set(self.stored)
        add_facts(connection, facts)
        yield
        job = RebuildJob(DatabaseSettings(url=self.lane.url), self.lane.aws.table)
        assert _merge_page(connection, job, items) == 0
        self.expected.merge(page)

    def forget(self) -> Actor:
        """An erasure, whose every statement is one step."""
        page: set[Event] = set()

        def run(pause: Callable[[], None]) -> None:
            def watch(name: str, request: Any) -> None:
                pause()
                if name == "query" and request.get("IndexName") and "ProjectionExpression" not in request:
                    page.update(self.stored)
                    self.forgotten |= page
                elif name == "execute" and "merge_notifications" in str(request[0]):
                    self.expected.merge(page)

            client = Pausing(self.lane.client, {"query", "update_item", "put_item", "get_item"}, watch)
            connection: Any = Pausing(self.lane.connection, {"execute", "cursor"}, watch)
            erase(Erasure(self.events[0].user_id, self.lane.aws.table, client, connection, writes=True))

        return stepwise(run)

    @property
    def fact_stream(self) -> str:
        found = self.lane.connection.execute(
            "SELECT id::text FROM notifications WHERE user_id = %s", (self.events[0].user_id,)
        ).fetchone()
        return f"notification#{found[0] if found else ''}"

    def check(self) -> None:
        """Deliver everything again, and compare what is stored and published with what the contract requires."""
        for _ in self.deliver(range(len(self.events)), self.lane.relays[0]):
            pass
        decider, told = self.expected.decider, self.expected.facts
        assert decider is not None
        (row,) = self.lane.connection.execute(
            "SELECT (decided_by).event_id, (decided_by).effect::text, (announced).event_id, (announced).effect::text,"
            " to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), deleted_at IS NOT NULL,"
            " notification_data ->> 'message' FROM notifications WHERE user_id = %s",
            (decider.user_id,),
        ).fetchall()
        last = (told[-1].cause.id, effect(told[-1].cause)) if told else (None, None)
        message = "" if decider in self.forgotten else SECRET
        assert decider == max(self.events, key=precedence)
        assert row == (decider.id, effect(decider), *last, self.expected.first_seen, decider.deletes, message)
        assert self.lane.connection.execute("SELECT count(*) FROM outbox").fetchone() == (0,)

        due = sorted((fact.cause.id, f"notification:{fact.kind}") for fact in told)
        facts = self.lane.read(self.fact_stream)
        assert sorted((item["causationId"]["S"], item["eventType"]["S"]) for item in facts) == due
        ids = {item["id"]["S"] for item in facts}
        assert {fact["id"] for fact in self.lane.sent if fact["userId"] == decider.user_id} == ids
        items = facts + [item for pk in {event.pk for event in self.events} for item in self.lane.read(pk)]
        forgotten = {event.id for event in self.forgotten}
        left = [item for item in items if item.get("causationId", item["id"])["S"] in forgotten]
        assert SECRET not in json.dumps(left, default=repr)


@pytest.fixture
def lane(aws: Aws, service_environment: dict[str, str]) -> Iterator[Lane]:
    lane = Lane(aws, service_environment["DATABASE_URL"])
    yield lane
    lane.connection.close()


def _run(lane: Lane, history: str) -> Run:
    number = next(_numbers)
    data = text({"date": "2027-01-01T08:00:00Z", "message": SECRET})
    events = [
        Event(
            id=f"event-{index}",
            occurred_at=f"2026-11-23T12:00:0{second}.000000Z",
            event_type=event_type,
            item_id=f"item-{number}",
            user_id=f"user-{number}",
            data_text=data,
            user_email=f"{SECRET}@example.com",
        )
        for index, (event_type, second) in enumerate(HISTORIES[history].events)
    ]
    return Run(lane, events)


def _deliveries(run: Run, history: str) -> dict[str, Actor]:
    batches = HISTORIES[history].first, HISTORIES[history].second
    return {name: run.deliver(batch, relay) for name, batch, relay in zip("AB", batches, run.lane.relays, strict=True)}


@pytest.mark.parametrize("history", HISTORIES)
def test_two_deliveries_and_a_rebuild(lane: Lane, history: str) -> None:
    """Each event has the fact that is due to it, once, wherever the rebuild passes."""
    for order in sample(every_order({"A": DELIVERY, "B": DELIVERY, "R": PAGE}), 139, [*HISTORIES].index(history)):
        run = _run(lane, history)
        interleave(order, _deliveries(run, history) | {"R": run.rebuild()})
        run.check()


@pytest.mark.parametrize("history", HISTORIES)
def test_two_deliveries_a_rebuild_and_a_settlement(lane: Lane, history: str) -> None:
    """An invocation that takes over the facts of others changes nothing but who publishes them."""
    counts = {"A": len(DELIVERY), "B": len(DELIVERY), "R": len(PAGE), "S": len(SETTLEMENT)}
    for order in some_orders(counts, 1000 if FULL else 10):
        run = _run(lane, history)
        interleave(order, _deliveries(run, history) | {"R": run.rebuild(), "S": run.settle(run.lane.relays[0])})
        run.check()


@pytest.mark.parametrize("history", HISTORIES)
def test_two_deliveries_and_an_erasure(lane: Lane, history: str) -> None:
    """Everything that the erasure finds is emptied, and every fact that is due is still published."""
    for order in some_orders({"A": len(DELIVERY), "B": len(DELIVERY), "E": ERASURE}, 1000 if FULL else 10):
        run = _run(lane, history)
        interleave(order, _deliveries(run, history) | {"E": run.forget()})
        run.check()


@pytest.mark.parametrize("rebuild_first", [True, False])
@pytest.mark.parametrize("history", HISTORIES)
def test_everything_at_once(lane: Lane, history: str, rebuild_first: bool) -> None:
    """A rebuild and an erasure keep each other out: one follows the other, in the midst of deliveries."""
    counts = {"A": len(DELIVERY), "B": len(DELIVERY), "S": len(SETTLEMENT), "X": len(PAGE) + ERASURE}
    for order in some_orders(counts, 500 if FULL else 5):
        run = _run(lane, history)
        commands = [run.rebuild(), run.forget()] if rebuild_first else [run.forget(), run.rebuild()]
        others = {"S": run.settle(run.lane.relays[1]), "X": itertools.chain(*commands)}
        interleave(order, _deliveries(run, history) | others)
        run.check()
