"""The way of a batch: parse, append, apply, publish.

Each stage does its work for the whole batch at once. A record that fails at a stage leaves the batch there, with its
reason; the others go on.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any

from event_service.adapters.event_items import check_size
from event_service.adapters.event_store import EventStore
from event_service.adapters.notifications import Notifications, ToApply
from event_service.adapters.topic import Publisher
from event_service.deadline import Deadline
from event_service.domain.envelope import open_envelope
from event_service.domain.event import Event, EventKey, notification_id
from event_service.domain.facts import Change, change_owed, fact_of, may_be_truncated
from event_service.domain.formats import read_event
from event_service.domain.projection import project
from event_service.errors import RecordError, Unavailable, internal_error, out_of_time


@dataclass(frozen=True, slots=True)
class Stages:
    """What does the work of the stages; `background` lets two of them go on side by side."""

    event_store: EventStore
    notifications: Notifications
    publisher: Publisher
    background: Executor


@dataclass(slots=True)
class Entry:
    """A record on its way; `error` is why it left the way.

    `notification` is the row as the event makes it, as JSON; None where it makes none.
    """

    event: Event | None = None
    notification: str | None = None
    error: RecordError | None = None


@dataclass(slots=True)
class Report:
    """What came of a batch: its entries in the order of the records, and what was done.

    `left_behind` has the facts of earlier batches that this one took along, each with its error if it has one.
    """

    entries: list[Entry]
    stored: int = 0
    duplicates: int = 0
    changes: list[Change] = field(default_factory=list)
    published: int = 0
    left_behind: dict[EventKey, RecordError | None] = field(default_factory=dict)


def process(records: Sequence[Mapping[str, Any]], stages: Stages, deadline: Deadline) -> Report:
    """Take the records of a batch as far as they go."""
    report = Report([parse(record) if deadline.remaining() else Entry(error=out_of_time()) for record in records])
    _append(report, stages, deadline)
    _apply(report, stages, deadline)
    _owe(report, stages, deadline)
    _publish(report, stages, deadline)
    return report


def parse(record: Mapping[str, Any]) -> Entry:
    """Validate a record; nothing of a rejected one is stored or applied."""
    entry = Entry()
    try:
        entry.event = read_event(open_envelope(record))
        entry.notification = project(entry.event) if entry.event.effect else None
        check_size(entry.event, entry.notification)
    except RecordError as exc:
        entry.error = exc
    except Exception as exc:  # noqa: BLE001  # a bug that one record brings out is no other record's failure
        entry.error = internal_error(exc)
    return entry


def _append(report: Report, stages: Stages, deadline: Deadline) -> None:
    entries = [entry for entry in report.entries if entry.error is None]
    events = [entry.event for entry in entries if entry.event is not None]
    for entry, outcome in zip(entries, stages.event_store.append(events, deadline), strict=True):
        if isinstance(outcome, RecordError):
            entry.error = outcome
        elif outcome == "stored":
            report.stored += 1
        else:
            # Not done: the earlier try may have died before it applied or published. The outbox knows.
            report.duplicates += 1
            if outcome == "forgotten":
                entry.notification = None  # applied never again


def _apply(report: Report, stages: Stages, deadline: Deadline) -> None:
    """Apply each event once, however often it is in the batch."""
    to_apply = {
        entry.event.key: ToApply(entry.event, entry.notification)
        for entry in report.entries
        if entry.error is None and entry.event is not None and entry.notification is not None
    }
    report.changes, failures = stages.notifications.apply([*to_apply.values()], deadline)
    _fail(report, failures)


def _owe(report: Report, stages: Stages, deadline: Deadline) -> None:
    """Make the facts of events that changed nothing because a rebuild, which makes none, had applied them before."""
    changed = {change.key for change in report.changes}
    unchanging = {
        entry.event.key: (entry.event, entry.notification)
        for entry in report.entries
        if entry.error is None and entry.event and entry.event.effect and entry.event.key not in changed
    }
    owed, failures = _facts_owed(dict(unchanging.values()), stages, deadline)
    report.changes += owed
    _fail(report, failures)


def _facts_owed(
    made: Mapping[Event, str | None], stages: Stages, deadline: Deadline
) -> tuple[list[Change], dict[EventKey, RecordError]]:
    """Take events with the notifications that they make, None of forgotten ones."""
    events = [*made]
    if not events:
        return [], {}
    failures: dict[EventKey, RecordError] = {}
    kinds: dict[Event, str] = {}
    try:
        candidates = stages.notifications.possibly_without_fact(events, deadline)
        events = [event for event in events if event.key in candidates]
        ids = [notification_id(event.user_id, event.item_id) for event in events]
        for event, stored in zip(events, stages.event_store.last_facts(ids, deadline), strict=True):
            if isinstance(stored, Unavailable):
                failures[event.key] = stored
                continue
            last_fact = max(stored, candidates[event.key], key=lambda rank: rank or ())
            if kind := change_owed(last_fact, event):
                kinds[event] = kind
        return stages.notifications.owe(kinds, made, deadline) if kinds else [], failures
    except Unavailable as exc:
        return [], dict.fromkeys((event.key for event in events), exc)


def _publish(report: Report, stages: Stages, deadline: Deadline) -> None:
    """Publish the facts of the batch, then those that earlier batches left behind, as many as there is time for."""
    failures, left_behind = _deliver_and_settle(report.changes, stages, deadline)
    _fail(report, failures)
    report.published = len(report.changes) - len(failures)
    while left_behind:
        taken = left_behind
        failures, left_behind = _deliver_and_settle(taken, stages, deadline)
        report.left_behind |= {change.key: failures.get(change.key) for change in taken}


def _deliver_and_settle(
    changes: Sequence[Change], stages: Stages, deadline: Deadline
) -> tuple[dict[EventKey, RecordError], list[Change]]:
    """Bring facts out and take them from the outbox; return the failures, and facts that others left behind."""
    failures = _deliver(changes, stages, deadline)
    done = [change.key for change in changes if change.key not in failures]
    if changes and not done:
        return failures, []  # what kept all of these from going out would keep others
    try:
        return failures, stages.notifications.settle(done, deadline)
    except Unavailable as exc:
        return failures | dict.fromkeys(done, exc), []


def _deliver(changes: Sequence[Change], stages: Stages, deadline: Deadline) -> dict[EventKey, RecordError]:
    """Store and publish the facts of changes, and return by the causing event's key the ones that failed."""
    if not changes:
        return {}
    facts = [fact_of(change) for change in changes]
    if any(may_be_truncated(fact) for fact in facts):
        # Published without its data, a fact may come back through the queue: the whole has to be stored by then.
        appended = stages.event_store.append(facts, deadline)
        stored = [fact for fact, outcome in zip(facts, appended, strict=True) if not isinstance(outcome, RecordError)]
        published = dict(zip((fact.key for fact in stored), stages.publisher.publish(stored, deadline), strict=True))
    else:
        publishing = stages.background.submit(stages.publisher.publish, facts, deadline)
        appended = stages.event_store.append(facts, deadline)
        published = dict(zip((fact.key for fact in facts), publishing.result(), strict=True))
    failures: dict[EventKey, RecordError] = {}
    for change, fact, outcome in zip(changes, facts, appended, strict=True):
        error = outcome if isinstance(outcome, RecordError) else published[fact.key]
        if error is not None:
            failures[change.key] = error
    return failures


def _fail(report: Report, failures: Mapping[EventKey, RecordError]) -> None:
    """Give every entry of a failed event its error: an event may be in a batch several times."""
    for entry in report.entries:
        if entry.error is None and entry.event is not None:
            entry.error = failures.get(entry.event.key)
