"""What rebuilds and erasures do with the notifications table and the outbox: merge, compare, and empty rows."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final, LiteralString

import psycopg

from event_service.adapters.postgres import SecretsClient, TimeLimitedConnection, connect
from event_service.codec.json_text import json_array
from event_service.config import DatabaseSettings
from event_service.domain.facts import PendingFact
from event_service.errors import CommandError

NOTIFICATIONS: Final = "notifications"
SHADOW: Final = "rebuild_shadow"  # a second table, to compare notifications with
BUSY: Final = "another rebuild or erasure is running"
_LOCK: Final = 0x65767472  # any number that no other advisory lock in the database has
_DIFFERENCES_NAMED: Final = 20
# Not derived from the stored events: what the scheduler has queried, and what subscribers were told.
_NOT_COMPARED: Final = ["announced", "due_at", "query_missed", "queried_at"]


@contextmanager
def exclusive_connection(settings: DatabaseSettings, secrets: SecretsClient) -> Iterator[TimeLimitedConnection]:
    """Open a connection, and keep other commands that write notifications from running while it is open.

    Otherwise one could bring back what another erases. The lock belongs to a transaction of a second connection,
    because a pooler in transaction mode would give a session's lock to another client.

    Raises:
        CommandError: another such command is running.
        psycopg.Error: the connection cannot be opened.

    """
    with connect(settings, secrets) as guard, guard.transaction():
        guard.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
        if guard.execute("SELECT pg_try_advisory_xact_lock(%s)", (_LOCK,)).fetchone() != (True,):
            raise CommandError(BUSY)
        with connect(settings, secrets) as connection:
            yield connection


def merge(connection: TimeLimitedConnection, target: LiteralString, requests: Sequence[str]) -> list[str]:
    """Merge requests (`merging.merge_requests`) into a table; return those whose content PostgreSQL refuses.

    Raises:
        psycopg.Error: anything else went wrong.

    """
    try:
        connection.execute("SELECT merge_notifications(%s::regclass, %s::json)", (target, json_array(requests)))
    except (psycopg.DataError, psycopg.errors.CheckViolation, psycopg.errors.ProgramLimitExceeded):
        if len(requests) == 1:
            return [*requests]
        half = len(requests) // 2
        return [*merge(connection, target, requests[:half]), *merge(connection, target, requests[half:])]
    return []


@dataclass(frozen=True, slots=True)
class Difference:
    """Rows that are `missing`, `extra` or `differing` in notifications, and the ids of the first of them."""

    kind: str
    count: int
    ids: list[str]


def create_shadow(connection: TimeLimitedConnection) -> None:
    """Create the empty table that a comparison rebuilds into, unless it exists."""
    connection.execute("SET client_min_messages = warning")
    connection.execute(f"CREATE UNLOGGED TABLE IF NOT EXISTS {SHADOW} (LIKE {NOTIFICATIONS} INCLUDING ALL)")


def drop_shadow(connection: TimeLimitedConnection) -> None:
    """Drop the table that a comparison rebuilds into; an interrupted one leaves everybody's rows in it."""
    connection.execute("SET client_min_messages = warning")
    connection.execute(f"DROP TABLE IF EXISTS {SHADOW}")


def compare_with_shadow(connection: TimeLimitedConnection) -> list[Difference]:
    """Return how notifications differs from the shadow table in the columns derived from the stored events."""
    rows = connection.execute(
        "SELECT kind, count(*), (array_agg(id::text ORDER BY id))[:%s] FROM ("
        " SELECT id, CASE WHEN s.id IS NULL THEN 'extra' WHEN n.id IS NULL THEN 'missing' ELSE 'differing' END AS kind"
        " FROM notifications AS n FULL JOIN rebuild_shadow AS s USING (id)"
        " WHERE to_jsonb(n) - %s::text[] IS DISTINCT FROM to_jsonb(s) - %s::text[]"
        ") AS different GROUP BY kind ORDER BY kind",
        (_DIFFERENCES_NAMED, _NOT_COMPARED, _NOT_COMPARED),
    )
    return [Difference(*row) for row in rows]


def pending_facts(connection: TimeLimitedConnection, user_id: str | None = None) -> Iterator[PendingFact]:
    """Yield the facts that wait in the outbox, of one user or of all."""
    with connection.cursor() as cursor:
        yield from (
            PendingFact(*row)
            for row in cursor.stream(
                "SELECT event_pk, event_sk, kind, notification ->> 'id', notification ->> 'userId',"
                " notification ->> 'userEmail', notification::text"
                " FROM outbox WHERE %s::text IS NULL OR notification ->> 'userId' = %s",
                (user_id, user_id),
            )
        )


def replace_pending(connection: TimeLimitedConnection, fact: PendingFact) -> None:
    """Replace the content of a fact that waits in the outbox."""
    connection.execute(
        "UPDATE outbox SET notification = %s WHERE event_pk = %s AND event_sk = %s",
        (fact.notification, fact.pk, fact.sk),
    )


@dataclass(frozen=True, slots=True)
class Row:
    """A notification, with the key of the event that decides it."""

    id: str
    subject: str
    item_id: str
    user_email: str | None
    data: str
    stream: str
    updated_at: datetime
    event_id: str


def rows_of(connection: TimeLimitedConnection, user_id: str) -> list[Row]:
    """Return a user's notifications, tombstones included."""
    return [
        Row(*row)
        for row in connection.execute(
            "SELECT id::text, subject_type, item_id, user_email, notification_data::text, (decided_by).stream,"
            " updated_at, (decided_by).event_id FROM notifications WHERE user_id = %s ORDER BY subject_type, item_id",
            (user_id,),
        )
    ]


def empty_row(connection: TimeLimitedConnection, row: Row, data: str) -> None:
    """Remove the e-mail address of a notification and replace its data, unless another event has decided it since."""
    connection.execute(
        "UPDATE notifications SET user_email = NULL, notification_data = %s"
        " WHERE id = %s AND updated_at = %s AND (decided_by).event_id = %s AND (decided_by).stream = %s",
        (data, row.id, row.updated_at, row.event_id, row.stream),
    )
