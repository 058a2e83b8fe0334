"""The notifications table and the outbox, in PostgreSQL; the functions of the migrations do the work."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final, Literal

from event_service.adapters.batching import EntryRefused, in_halves
from event_service.adapters.postgres import Database
from event_service.codec.instants import Instant
from event_service.codec.json_text import dumps, json_array, json_object
from event_service.deadline import Deadline
from event_service.domain.event import Event, EventKey, KnownType
from event_service.domain.facts import PendingFact
from event_service.domain.precedence import precedence
from event_service.errors import RecordError, Unavailable

_APPLY: Final = "SELECT * FROM apply_events(%s::json)"
_ACKNOWLEDGE: Final = "SELECT * FROM acknowledge_facts(%s::json, %s)"
_OUTBOX_AGE: Final = "SELECT facts, oldest_seconds FROM outbox_age()"


@dataclass(frozen=True, slots=True)
class ProjectedEvent:
    """An event of a known type, the notification it makes (`projection.project`) and when it was published."""

    event: Event
    known: KnownType
    notification: str
    published_at: Instant | None

    @property
    def target(self) -> tuple[str, str, str]:
        """The notification that it concerns: user, subject, item."""
        return self.event.user_id, self.known.subject, self.event.item_id


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of an event.

    `late` is by how many seconds its notification is due after its time, because the service was late; None if it is on
    time, or if an earlier call applied it and its fact is out. `fact` waits in the outbox, from this call or an earlier
    one.
    """

    status: Literal["applied", "superseded", "duplicate"]
    late: float | None
    fact: PendingFact | None


@dataclass(frozen=True, slots=True)
class Notifications:
    """The two tables, reached by a connection."""

    database: Database

    def apply(self, events: Iterable[ProjectedEvent], deadline: Deadline) -> dict[EventKey, Applied | RecordError]:
        """Apply events with different keys, those of one notification oldest first.

        Returns:
            For each event by its key what became of it, or its error.

        """
        groups: dict[tuple[str, str, str], list[ProjectedEvent]] = {}
        for each in sorted(events, key=lambda each: precedence(each.event, each.known.effect)):
            groups.setdefault(each.target, []).append(each)
        if not groups:
            return {}

        def apply_groups(chosen: Sequence[Sequence[ProjectedEvent]]) -> list[list[Applied | RecordError]]:
            found = self._apply([*chain.from_iterable(chosen)], deadline)
            return [[found[each.event.key] for each in group] for group in chosen]

        outcomes: dict[EventKey, Applied | RecordError] = {}
        for group, answers in zip(groups.values(), in_halves([*groups.values()], apply_groups, deadline), strict=True):
            if not isinstance(answers, RecordError):
                outcomes |= {each.event.key: answer for each, answer in zip(group, answers, strict=True)}
            elif answers.retryable or len(group) == 1:
                outcomes |= dict.fromkeys((each.event.key for each in group), answers)
            else:  # because of one of the notification's events: apply each separately, still oldest first
                for each in group:
                    (answer,) = in_halves([each], lambda one: [*self._apply(one, deadline).values()], deadline)
                    outcomes[each.event.key] = answer
        return outcomes

    def _apply(self, events: Sequence[ProjectedEvent], deadline: Deadline) -> dict[EventKey, Applied | RecordError]:
        rows = self.database.query(_APPLY, (json_array(map(_request, events)),), deadline)
        outcomes: dict[EventKey, Applied | RecordError] = {}
        for pk, sk, status, late, *fact in rows:
            if status == "locked":
                outcomes[pk, sk] = Unavailable("notifications", "another session holds the row", retryable=True)
            else:
                pending = PendingFact(pk, sk, *fact) if fact[0] is not None else None
                outcomes[pk, sk] = Applied(status, late, pending)
        return outcomes

    def acknowledge(self, published: Iterable[EventKey], claims: int, deadline: Deadline) -> list[PendingFact]:
        """Take facts that are stored and published out of the outbox, and claim up to `claims` orphaned ones.

        `published` are the keys of the causing events. Orphaned facts were committed more than 15 minutes ago; the
        oldest come first. The caller publishes what it gets; nobody else gets it within the next 15 minutes.

        Raises:
            RecordError: PostgreSQL is unavailable, a lock was held too long, or no time was left.

        """
        keys = dumps([{"pk": pk, "sk": sk} for pk, sk in published])
        try:
            return [PendingFact(*row) for row in self.database.query(_ACKNOWLEDGE, (keys, claims), deadline)]
        except EntryRefused as exc:
            raise exc.error from exc

    def outbox_age(self, deadline: Deadline) -> tuple[int, float]:
        """Return how many facts wait in the outbox, and for how many seconds the oldest of them has; 0 if none does.

        Raises:
            RecordError: PostgreSQL is unavailable, or no time was left.

        """
        ((facts, oldest_seconds),) = self.database.query(_OUTBOX_AGE, (), deadline)
        return facts, oldest_seconds


def _request(each: ProjectedEvent) -> str:
    event = each.event
    return json_object(
        {
            "pk": dumps(event.pk),
            "sk": dumps(event.sk),
            "id": dumps(event.id),
            "effect": dumps(each.known.effect),
            "subject": dumps(each.known.subject),
            "publishedAt": dumps(each.published_at),
            "notification": each.notification,
        }
    )
