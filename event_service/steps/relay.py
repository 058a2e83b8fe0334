"""The last two steps of the pipeline: facts leave the outbox, are stored and published, and are acknowledged."""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Final

from event_service.adapters.batching import in_halves
from event_service.adapters.event_store import EventStore
from event_service.adapters.notifications import Notifications
from event_service.adapters.topics import Topic
from event_service.deadline import Deadline
from event_service.domain.event import Event, EventKey
from event_service.domain.facts import PendingFact, fact_of, may_be_truncated
from event_service.errors import RecordError, internal_error

ORPHANED_FACTS_AT_ONCE: Final = 10  # one request to SNS; the next are claimed when these are out
_SECONDS_TO_PUBLISH_THEM: Final = 2

Failures = dict[EventKey, RecordError]  # by the key of the causing event


@dataclass(frozen=True, slots=True)
class Relay:
    """What facts are relayed with; `background` lets them be published while they are stored."""

    event_store: EventStore
    notifications: Notifications
    topic: Topic
    background: Executor


@dataclass(frozen=True, slots=True)
class Relayed:
    """The facts, by the key of the causing event, that earlier attempts have brought out in part."""

    stored: set[EventKey] = field(default_factory=set)
    published: set[EventKey] = field(default_factory=set)


def publish(pending: Sequence[PendingFact], relayed: Relayed, relay: Relay, deadline: Deadline) -> Failures:
    """Store facts and publish them, side by side, each unless an earlier attempt has done it; return the failures."""
    if not pending:
        return {}
    facts: dict[EventKey, Event] = {}
    failures: Failures = {}
    for fact in pending:
        try:
            facts[fact.key] = fact_of(fact)
        except Exception as exc:  # noqa: BLE001  # of one fact, not of the others
            failures[fact.key] = internal_error(exc)
    to_store = {key: fact for key, fact in facts.items() if key not in relayed.stored}
    to_publish = {key: fact for key, fact in facts.items() if key not in relayed.published}

    def store() -> Failures:
        outcomes = in_halves([*to_store.values()], lambda chosen: relay.event_store.append(chosen, deadline), deadline)
        unstored = _failures(to_store, outcomes)
        relayed.stored.update(to_store.keys() - unstored.keys())
        return unstored

    def send(chosen: Mapping[EventKey, Event]) -> Failures:
        outcomes = in_halves([*chosen.values()], lambda some: relay.topic.publish(some, deadline), deadline)
        unpublished = _failures(chosen, outcomes)
        relayed.published.update(chosen.keys() - unpublished.keys())
        return unpublished

    if any(map(may_be_truncated, to_publish.values())):
        # Published without its data, a fact may come back through the queue: the whole one has to be stored by then.
        failures |= store()
        return failures | send({key: fact for key, fact in to_publish.items() if key not in failures})
    sending = relay.background.submit(send, to_publish)
    return failures | store() | sending.result()


def _failures(keys: Iterable[EventKey], outcomes: Sequence[object]) -> Failures:
    return {key: outcome for key, outcome in zip(keys, outcomes, strict=True) if isinstance(outcome, RecordError)}


def acknowledge(
    published: Sequence[EventKey], relay: Relay, deadline: Deadline, *, claim: bool
) -> tuple[Failures, list[PendingFact]]:
    """Take facts that are out from the outbox; return the failures and, with `claim`, facts that others left there."""
    claims = ORPHANED_FACTS_AT_ONCE if claim and deadline.remaining() > _SECONDS_TO_PUBLISH_THEM else 0
    try:
        return {}, relay.notifications.acknowledge(published, claims, deadline)
    except RecordError as exc:
        return dict.fromkeys(published, exc), []


def publish_orphaned(
    claimed: list[PendingFact], relay: Relay, deadline: Deadline
) -> dict[EventKey, RecordError | None]:
    """Publish facts that earlier invocations left in the outbox, as many as there is time for; return their errors."""
    outcomes: dict[EventKey, RecordError | None] = {}
    while claimed:
        failures = publish(claimed, Relayed(), relay, deadline)
        outcomes |= {fact.key: failures.get(fact.key) for fact in claimed}
        published = [fact.key for fact in claimed if fact.key not in failures]
        # What keeps all of these from getting out would keep others.
        unacknowledged, claimed = acknowledge(published, relay, deadline, claim=bool(published))
        outcomes |= unacknowledged
    return outcomes
