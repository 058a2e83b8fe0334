"""How a batch is processed: parse, append, apply, publish, acknowledge.

Each step runs once for the whole batch. A record that fails at a step leaves the batch there, with its reason; the
others continue. Rejected records are handed over to the dead-letter queue meanwhile (`reject`). What may heal is
attempted again until the deadline: an attempt within the invocation is like a redelivery, only sooner.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from event_service.adapters.batching import in_halves
from event_service.adapters.event_store import Appended
from event_service.adapters.notifications import Applied, ProjectedEvent
from event_service.adapters.topics import RejectedTopic
from event_service.deadline import Deadline
from event_service.domain.event import Event, EventKey
from event_service.domain.facts import PendingFact
from event_service.domain.projection import project
from event_service.errors import RecordError, internal_error, lasting_error, out_of_time
from event_service.steps.parse import ParsedRecord, parse
from event_service.steps.reject import RejectedRecords
from event_service.steps.relay import Failures, Relay, Relayed, acknowledge, publish, publish_orphaned
from event_service.steps.turns import turns

# How long a batch waits for backends that the batch before had given up.
_SECONDS_FOR_BACKENDS_DOWN: Final = 2


@dataclass(slots=True)
class Backends:
    """The backends, and the names of those that the last batch of this execution environment gave up."""

    relay: Relay
    rejected_topic: RejectedTopic | None = None
    down: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Achieved:
    """What the attempts of a batch have achieved, so that the next attempt does not do it again.

    `appended` is by record number, `applied` by event key.
    """

    appended: dict[int, Appended] = field(default_factory=dict)
    applied: dict[EventKey, Applied] = field(default_factory=dict)
    relayed: Relayed = field(default_factory=Relayed)


@dataclass(frozen=True, slots=True)
class RecordOutcome:
    """A record's event, if it has one, and its error; None if it is done.

    A rejected record that was handed over is acknowledged, too; `handover_error` says why another was not.
    """

    event: Event | None
    error: RecordError | None
    handed_over: bool = False
    handover_error: RecordError | None = None


@dataclass(frozen=True, slots=True)
class BatchResult:
    """What became of a batch: the outcome of each record, in order, and what was achieved.

    `orphaned` has the facts of earlier batches that this one took along, with an error if they did not get out.
    """

    outcomes: list[RecordOutcome]
    achieved: Achieved = field(default_factory=Achieved)
    orphaned: dict[EventKey, RecordError | None] = field(default_factory=dict)


def process(records: Sequence[Mapping[str, Any]], backends: Backends, deadline: Deadline) -> BatchResult:
    """Process the records of a batch until each is done or rejected, or the deadline comes."""
    parsed: dict[int, ParsedRecord] = {}
    errors: dict[int, RecordError | None] = {number: out_of_time() for number in range(len(records))}
    achieved, claimed, down = Achieved(), list[PendingFact](), frozenset[str]()
    rejected = RejectedRecords(records, backends.rejected_topic, deadline, is_down="rejected_topic" in backends.down)
    patience = deadline.within(_SECONDS_FOR_BACKENDS_DOWN)
    rounds = turns(records)
    for _ in deadline.attempts():
        for numbers in rounds:
            for number in numbers:
                if number not in parsed and deadline.remaining():
                    parsed[number] = parse(records[number])
                    errors[number] = parsed[number].error
            rejected.hand_over({number: errors[number] for number in numbers})
            accepted = {number: parsed[number] for number in numbers if number in parsed and not parsed[number].error}
            outcomes, orphaned = _attempt(accepted, achieved, backends.relay, deadline)
            errors |= {number: lasting_error(errors[number], error) for number, error in outcomes.items()}
            rejected.hand_over(outcomes)
            claimed += orphaned
        pending = [number for number, error in errors.items() if error and error.retryable]
        down = frozenset(error.reason for number in pending if (error := errors[number]))
        if not pending or (down <= backends.down and not patience.remaining()):
            break
        rounds = [pending]  # together: none of them has ended the process
    orphans = publish_orphaned(claimed, backends.relay, deadline)
    handovers = rejected.outcomes()
    backends.down = down | {error.reason for error in handovers.values() if error and error.retryable}
    return BatchResult(
        outcomes=[
            RecordOutcome(
                event=parsed[number].event if number in parsed else None,
                error=error,
                handed_over=number in handovers and handovers[number] is None,
                handover_error=handovers.get(number),
            )
            for number, error in errors.items()
        ],
        achieved=achieved,
        orphaned=orphans,
    )


def _attempt(
    records: Mapping[int, ParsedRecord], achieved: Achieved, relay: Relay, deadline: Deadline
) -> tuple[dict[int, RecordError | None], list[PendingFact]]:
    """Take records through the steps, as far as they get."""
    errors = append(records, achieved, relay, deadline)
    events = {number: achieved.appended[number].event for number in records if number not in errors}
    projected, failures = _project(events, records)
    more, facts = apply(projected, achieved, relay, deadline)
    failures |= more
    failures |= publish(facts, achieved.relayed, relay, deadline)
    published = [fact.key for fact in facts if fact.key not in failures]
    more, claimed = acknowledge(published, relay, deadline, claim=not (errors or failures))
    failures |= more
    return {number: errors.get(number) or failures.get(events[number].key) for number in records}, claimed


def append(
    records: Mapping[int, ParsedRecord], achieved: Achieved, relay: Relay, deadline: Deadline
) -> dict[int, RecordError]:
    """Store each event once, and return the errors.

    A duplicate is not done: the earlier delivery may have died before it applied or published. The outbox knows.
    """
    events = {
        number: record.event for number, record in records.items() if record.event and number not in achieved.appended
    }
    errors: dict[int, RecordError] = {}
    outcomes = in_halves([*events.values()], lambda chosen: relay.event_store.append(chosen, deadline), deadline)
    for number, outcome in zip(events, outcomes, strict=True):
        if isinstance(outcome, RecordError):
            errors[number] = outcome
        else:
            achieved.appended[number] = outcome
    return errors


def _project(
    events: Mapping[int, Event], records: Mapping[int, ParsedRecord]
) -> tuple[dict[EventKey, ProjectedEvent], Failures]:
    """Return the events with an effect and the notifications they make, each event once, and the failures."""
    projected: dict[EventKey, ProjectedEvent] = {}
    failures: Failures = {}
    for number, event in events.items():
        record = records[number]
        if (known := event.known_type) is None:
            continue
        try:
            # If an erasure has emptied the event since it was first stored, what is left of it is applied.
            notification = record.notification if event is record.event else project(event, known)
            projected[event.key] = ProjectedEvent(event, known, notification or "", record.published_at)
        except Exception as exc:  # noqa: BLE001  # of one event, not of the others
            failures[event.key] = exc if isinstance(exc, RecordError) else internal_error(exc)
    return projected, failures


def apply(
    events: Mapping[EventKey, ProjectedEvent], achieved: Achieved, relay: Relay, deadline: Deadline
) -> tuple[Failures, list[PendingFact]]:
    """Apply events to their notifications; return the failures and the facts that wait in the outbox."""
    failures: Failures = {}
    facts: list[PendingFact] = []
    for key, outcome in relay.notifications.apply(events.values(), deadline).items():
        if isinstance(outcome, RecordError):
            failures[key] = outcome
            continue
        achieved.applied.setdefault(key, outcome)
        if outcome.fact:
            facts.append(outcome.fact)
    return failures, facts
