"""The notifications table and the outbox of facts, in PostgreSQL: the work is done by functions of the migrations."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import psycopg

from event_service.adapters.postgres import Database
from event_service.codec.json_text import compose_array, compose_object, dumps
from event_service.deadline import Deadline
from event_service.domain.event import Event, EventKey, Rank, notification_id
from event_service.domain.facts import Change, rank_of_cause
from event_service.errors import Unavailable, out_of_time

_APPLY: Final = "SELECT * FROM apply_events(%s::json)"
_MERGED: Final = "SELECT * FROM merged_events(%s::json)"
_OWE: Final = "SELECT * FROM owe_facts(%s::json)"
_SETTLE: Final = "SELECT * FROM settle_outbox(%s::json, %s)"
_FACTS_LEFT_BEHIND_AT_ONCE: Final = 10  # one request to SNS: the next are claimed when these are out
_SECONDS_TO_PUBLISH_THEM: Final = 2
_SECONDS_TO_WAIT_FOR_LOCKS: Final = 5  # in all; a statement waits 300 ms for each

# Classes of SQLSTATE after which the same statement may succeed: lost connections, deadlocks, a lack of resources,
# operators at work. https://www.postgresql.org/docs/16/errcodes-appendix.html
_TRANSIENT: Final = ("08", "25", "40", "53", "57", "58")
# And those that no row is to blame for: wrong credentials, database or privileges; functions that are not there.
_MISCONFIGURED: Final = ("28", "3D", "42")
_LOCKED: Final = "55P03"


@dataclass(frozen=True, slots=True)
class ToApply:
    """An event of a known type and the notification it makes (`projection.project`)."""

    event: Event
    notification: str


@dataclass(frozen=True, slots=True)
class Notifications:
    """The two tables, reached by a connection."""

    database: Database

    def apply(self, events: Sequence[ToApply], deadline: Deadline) -> tuple[list[Change], dict[EventKey, Unavailable]]:
        """Apply events of known types.

        Events of one item are applied oldest first. All keys have to differ.

        Returns:
            The changes whose facts wait in the outbox, now or from an earlier try, and by event key the events that
            could not be applied.

        """
        if not events:
            return [], {}
        # Also in halves the older events of an item come first, or their facts would never exist.
        events = sorted(events, key=lambda each: each.event.rank)
        return self._apply(events, deadline, deadline.within(_SECONDS_TO_WAIT_FOR_LOCKS))

    def _apply(
        self, events: Sequence[ToApply], deadline: Deadline, patience: Deadline
    ) -> tuple[list[Change], dict[EventKey, Unavailable]]:
        try:
            rows = self._query(_APPLY, (compose_array(map(_request, events)),), deadline)
            return [Change(*row) for row in rows], {}
        except Unavailable as exc:
            return [], dict.fromkeys((each.event.key for each in events), exc)
        except psycopg.Error as exc:
            failure = _failure(exc)
            limit = patience if exc.sqlstate == _LOCKED else deadline
            if len(events) == 1 or failure.retryable or _is_misconfiguration(exc) or not limit.remaining():
                return [], dict.fromkeys((each.event.key for each in events), failure)
        # PostgreSQL refused one of the rows, or somebody has it locked: in halves, that row fails alone.
        half = len(events) // 2
        changes, failures = self._apply(events[:half], deadline, patience)
        more_changes, more_failures = self._apply(events[half:], deadline, patience)
        return changes + more_changes, failures | more_failures

    def settle(self, done: Iterable[EventKey], deadline: Deadline) -> list[Change]:
        """Take facts that are stored and published out of the outbox, and return some that were left behind.

        `done` are the keys of the causing events. Left behind is what was committed over 15 minutes ago, oldest first;
        the caller publishes what it gets, and nobody else gets it in the next 15 minutes. With little time left there
        is nothing to get.

        Raises:
            Unavailable: PostgreSQL did not do its part, or there was no time left.

        """
        keys = dumps([{"pk": pk, "sk": sk} for pk, sk in done])
        claims = _FACTS_LEFT_BEHIND_AT_ONCE if deadline.remaining() > _SECONDS_TO_PUBLISH_THEM else 0
        return [Change(*row) for row in self._ask(_SETTLE, (keys, claims), deadline)]

    def possibly_without_fact(self, events: Iterable[Event], deadline: Deadline) -> dict[EventKey, Rank | None]:
        """Return those of events that decide their rows and may have been applied without a fact.

        With each comes the rank of the event that caused the last fact waiting for the same notification.

        Raises:
            Unavailable: PostgreSQL did not do its part, or there was no time left.

        """
        request = dumps([_place(event) for event in events])
        return {
            (pk, sk): rank_of_cause(*waiting) if waiting[0] is not None else None
            for pk, sk, *waiting in self._ask(_MERGED, (request,), deadline)
        }

    def owe(self, kinds: Mapping[Event, str], made: Mapping[Event, str | None], deadline: Deadline) -> list[Change]:
        """Let events that decide their rows have facts of these kinds; return what waits in the outbox now.

        `made` has the notification that each makes (`projection.project`), None of a forgotten event.

        Raises:
            Unavailable: PostgreSQL did not do its part, or there was no time left.

        """
        requests = (
            compose_object(
                {name: dumps(text) for name, text in _place(event).items()}
                | {"change": dumps(kind), "notification": made[event] or "null"}
            )
            for event, kind in kinds.items()
        )
        return [Change(*row) for row in self._ask(_OWE, (compose_array(requests),), deadline)]

    def _ask(self, statement: str, parameters: Sequence[Any], deadline: Deadline) -> list[tuple[Any, ...]]:
        try:
            return self._query(statement, parameters, deadline)
        except psycopg.Error as exc:
            raise _failure(exc) from exc

    def _query(self, statement: str, parameters: Sequence[Any], deadline: Deadline) -> list[tuple[Any, ...]]:
        """Run a statement, again after a transient failure as long as there is time.

        Raises:
            psycopg.Error: the last failure.
            Unavailable: there was no time left to begin.

        """
        failure: psycopg.Error | None = None
        for _ in deadline.attempts():
            try:
                return self.database.query(statement, parameters, deadline)
            except psycopg.Error as exc:
                if not _is_transient(exc):
                    raise
                failure = exc
        raise failure or out_of_time()


def _place(event: Event) -> dict[str, str]:
    return {"pk": event.pk, "sk": event.sk, "notificationId": notification_id(event.user_id, event.item_id)}


def _request(each: ToApply) -> str:
    event = each.event
    return compose_object(
        {
            "pk": dumps(event.pk),
            "sk": dumps(event.sk),
            "id": dumps(event.id),
            "deletion": dumps(event.effect == "delete"),
            "notification": each.notification,
        }
    )


def _is_transient(exc: psycopg.Error) -> bool:
    return exc.sqlstate is None or exc.sqlstate.startswith(_TRANSIENT)  # none: there was no answer


def _is_misconfiguration(exc: psycopg.Error) -> bool:
    return exc.sqlstate is not None and exc.sqlstate.startswith(_MISCONFIGURED)


def _failure(exc: psycopg.Error) -> Unavailable:
    """Name the error and never quote it: PostgreSQL's messages quote values."""
    hint = ": run `python -m event_service.migrate`" if exc.sqlstate == "42883" else ""
    text = f"{type(exc).__name__} ({exc.sqlstate or 'no answer'}){hint}"
    return Unavailable("notifications", text, retryable=_is_transient(exc))
