"""The service's PostgreSQL tables, as an observer sees them. All SQL that several tests rely on is here."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import set_json_loads

from tests.support.oracle import Key, exact_json

Row = dict[str, Any]

# The columns that a row's deciding event determines (contract §6).
DETERMINED = (
    "user_id",
    "subject_type",
    "item_id",
    "item_type",
    "deliver_at",
    "created_at",
    "updated_at",
    "deleted_at",
)

_AS_OBSERVER = "-c TimeZone=UTC -c DateStyle=ISO"


@dataclass
class Tables:
    """A database, looked at through one connection that is opened when it is first needed."""

    url: str
    _connection: psycopg.Connection[Row] | None = None

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """Run one statement in UTC; JSON is read without losing a digit."""
        if self._connection is None:
            self._connection = psycopg.connect(self.url, autocommit=True, options=_AS_OBSERVER, row_factory=dict_row)
            set_json_loads(exact_json, self._connection)
        cursor = self._connection.execute(sql.encode(), parameters or None)
        return cursor.fetchall() if cursor.description else []

    def rows(self) -> dict[Key, Row]:
        """The notifications, tombstones included, by (user, item)."""
        return {(row["user_id"], row["item_id"]): row for row in self.query("SELECT * FROM notifications")}

    def rows_of_user(self, user: str) -> list[Row]:
        """The notifications of a user, tombstones included, ordered by item.

        With all their columns but `announced`: a deletion that arrives before its create is never announced.
        """
        found = self.query("SELECT * FROM notifications WHERE user_id = %s ORDER BY item_id", (user,))
        return [{name: value for name, value in row.items() if name != "announced"} for row in found]

    def wrongly_announced(self, user: str) -> list[Row]:
        """The notifications of a user of which subscribers were last told something other than what the row says."""
        return self.query(
            "SELECT * FROM notifications WHERE user_id = %s AND CASE WHEN deleted_at IS NULL"
            " THEN announced IS DISTINCT FROM decided_by ELSE (announced).effect <> 'delete' END",
            (user,),
        )

    def view(self) -> list[Row]:
        """The rows that the notification-scheduler can read."""
        return self.query('SELECT * FROM "notification" ORDER BY "userId", "itemId"')

    def outbox(self) -> list[Row]:
        """The facts that are not yet published."""
        return self.query("SELECT * FROM outbox")

    def waiting_causes(self) -> set[str]:
        """The ids of the events whose facts are in the outbox."""
        return {row["event_sk"].partition("#")[2] for row in self.outbox()}

    def committed_column(self) -> str:
        """The name of the outbox's only `timestamptz`, the time at which a fact was committed (contract §6)."""
        (column,) = self.query(
            "SELECT column_name FROM information_schema.columns"
            " WHERE table_name = 'outbox' AND data_type = 'timestamp with time zone'"
        )
        return str(column["column_name"])

    def age_outbox(self, minutes: float) -> None:
        """Pretend that what is in the outbox was committed `minutes` earlier."""
        column = self.committed_column()
        self.query(f"UPDATE outbox SET {column} = {column} - make_interval(secs => %s)", [minutes * 60])

    def lose_rows(self) -> None:
        """Lose every notification and every fact that is not yet published."""
        self.query("TRUNCATE notifications, outbox")

    def empty(self) -> None:
        """Return to the state of a migrated database."""
        self.query("TRUNCATE notifications, outbox")

    def refuse_rows_of(self, item_id: str) -> None:
        """Make PostgreSQL refuse every row of an item."""
        self.query(f"ALTER TABLE notifications ADD CONSTRAINT refused CHECK (item_id <> '{item_id}')")

    def accept_all_rows(self) -> None:
        """Undo `refuse_rows_of`."""
        self.query("ALTER TABLE notifications DROP CONSTRAINT refused")

    @contextlib.contextmanager
    def without_notifications(self) -> Iterator[None]:
        """Rename the table of notifications in the meantime: nothing can be applied."""
        self.query("ALTER TABLE notifications RENAME TO notifications_away")
        try:
            yield
        finally:
            self.query("ALTER TABLE notifications_away RENAME TO notifications")

    def merge(self, events_json: str) -> None:
        """Apply events as a rebuild does."""
        self.query("SELECT merge_notifications('notifications', %s::json)::text", (events_json,))

    def close(self) -> None:
        """Close the connection; the next statement opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def execute(url: str, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    """Run one statement and commit it."""
    with psycopg.connect(url) as connection:
        cursor = connection.execute(statement.encode(), parameters or None)
        return list(cursor.fetchall()) if cursor.description else []


def printed_rows(url: str) -> list[tuple[Any, ...]]:
    """The notifications exactly as PostgreSQL prints them, without what does not follow from the stored events."""
    not_compared = "'{announced, due_at, query_missed, queried_at}'::text[]"
    return execute(url, f"SELECT (to_jsonb(n) - {not_compared})::text FROM notifications AS n ORDER BY id")


def lose_rows(url: str) -> None:
    """Lose every notification; facts that are not yet published stay."""
    execute(url, "TRUNCATE notifications")


def outbox(url: str) -> list[tuple[Any, ...]]:
    """The facts that are not yet published, as (pk, sk) of the causing events."""
    return execute(url, "SELECT event_pk, event_sk FROM outbox")


def count_notifications(url: str) -> int:
    """The number of notifications, tombstones included."""
    return int(execute(url, "SELECT count(*) FROM notifications")[0][0])


def deciding_events(url: str) -> list[tuple[str, str, bool]]:
    """Of each notification its id, the id of its deciding event, and whether that deleted it."""
    found = execute(url, "SELECT id::text, (decided_by).event_id, deleted_at IS NOT NULL FROM notifications")
    return [(str(id_), str(event_id), bool(deleted)) for id_, event_id, deleted in found]


def comparable(row: Row) -> Row:
    """The columns of `DETERMINED` and the data; NULL and '' both mean no e-mail address."""
    data = dict(row["notification_data"])
    if not row["user_email"]:
        data.pop("userEmail", None)
    return {name: row[name] for name in DETERMINED} | {
        "user_email": row["user_email"] or "",
        "notification_data": data,
    }
