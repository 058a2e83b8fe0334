"""A model of the notification-scheduler: at each full minute, it queries once for what is due one minute later."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg

MINUTE = timedelta(minutes=1)

COLUMNS = (
    "id",
    "createdAt",
    "updatedAt",
    "userId",
    "userEmail",
    "deliverAt",
    "itemType",
    "itemId",
    "notificationData",
)
_SELECTED = ", ".join(f'"Notification"."{name}" AS "Notification_{name}"' for name in COLUMNS)
_FROM = 'FROM "notification" "Notification" WHERE "Notification"."deliverAt" = $1'
# As TypeORM sends it (contract §6).
QUERY = f"SELECT {_SELECTED} {_FROM}"


@dataclass(frozen=True)
class Forwarded:
    """A notification that a query found; `version` is its row's `updatedAt`."""

    at: datetime
    user_id: str
    item_id: str
    version: datetime
    data: str


@dataclass
class SimulatedClock:
    """The clock of a database, which a test sets: it replaces `service_clock()`."""

    connection: psycopg.Connection[Any]
    now: datetime

    def __post_init__(self) -> None:
        self.connection.execute("CREATE TABLE IF NOT EXISTS simulated_clock (now timestamptz NOT NULL)")
        self.connection.execute("TRUNCATE simulated_clock")
        self.connection.execute("INSERT INTO simulated_clock VALUES (%s)", (self.now,))
        self.connection.execute(
            "CREATE OR REPLACE FUNCTION service_clock() RETURNS timestamptz LANGUAGE sql VOLATILE"
            " AS $$ SELECT now FROM simulated_clock $$"
        )

    def set(self, now: datetime) -> None:
        """Set the clock, also backwards."""
        self.connection.execute("UPDATE simulated_clock SET now = %s", (now,))
        self.now = now


@dataclass
class Scheduler:
    """The scheduler, and what it has forwarded; it queries when the clock is advanced over a full minute."""

    clock: SimulatedClock
    forwarded: list[Forwarded] = field(default_factory=list)

    def advance(self, to: datetime) -> None:
        """Let the time pass; each full minute on the way, and `to` itself if it is one, has its query."""
        minute = self.clock.now.replace(second=0, microsecond=0) + MINUTE
        while minute <= to:
            self.clock.set(minute)
            self.forwarded += query(self.clock.connection, minute)
            minute += MINUTE
        self.clock.set(to)


def query(connection: psycopg.Connection[Any], minute: datetime) -> list[Forwarded]:
    """Query once, as the scheduler does at a full minute."""
    due = (minute + MINUTE).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.000+00:00")
    rows = psycopg.RawCursor(connection).execute(QUERY.encode(), [due]).fetchall()
    found = [dict(zip(COLUMNS, row, strict=True)) for row in rows]
    return [Forwarded(minute, row["userId"], row["itemId"], row["updatedAt"], row["notificationData"]) for row in found]
