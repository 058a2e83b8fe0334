"""What PostgreSQL's errors mean for the rows of a statement, and how they are described without any value."""

import re
from collections.abc import Sequence
from typing import Final

import psycopg

from event_service.adapters.batching import EntryRefused
from event_service.errors import Unavailable

# Classes of SQLSTATE after which the same statement may succeed: lost connections, deadlocks, a lack of resources,
# operators at work. https://www.postgresql.org/docs/16/errcodes-appendix.html
_TRANSIENT: Final = ("08", "25", "40", "53", "57", "58")
# And those that no row is to blame for: wrong credentials, database or privileges; functions that do not exist.
_MISCONFIGURED: Final = ("28", "3D", "42")
_LOCKED: Final = "55P03"
_MIGRATION_MISSING: Final = ("42P01", "42883")


class DatabaseRefused(psycopg.OperationalError):
    """The database cannot be used as it is; the text names the setting."""


def translated(exc: psycopg.Error) -> Unavailable | EntryRefused:
    """Return what a driver error means for the rows of its statement."""
    state = exc.sqlstate or ""
    if state == _LOCKED:
        return EntryRefused(Unavailable("notifications", "a lock is held by another session", retryable=True))
    retryable = not state or state.startswith(_TRANSIENT)
    unavailable = Unavailable("notifications", describe(exc), retryable=retryable)
    return unavailable if retryable or state.startswith(_MISCONFIGURED) else EntryRefused(unavailable)


def describe(exc: psycopg.Error) -> str:
    """Return the reason of a driver error, without any value: PostgreSQL's messages quote rows, names and passwords."""
    name = type(exc).__name__
    if isinstance(exc, DatabaseRefused):
        return str(exc)
    if exc.sqlstate:
        hint = ": run `python -m event_service.migrate`" if exc.sqlstate in _MIGRATION_MISSING else ""
        return f"{name} ({exc.sqlstate}){hint}"
    if isinstance(exc, psycopg.ProgrammingError):
        return "DATABASE_URL is not a libpq URL"
    tried = exc.pgconn  # of a refused connection
    known = [tried.user, tried.db, tried.host, tried.hostaddr] if tried else []
    return f"{name}: {_without_values(str(exc), [value.decode(errors='replace') for value in known if value])}"


def _without_values(message: str, known: Sequence[str]) -> str:
    """Return libpq's reason for a refused connection: errors at connection time carry no SQLSTATE.

    `known` are the values it was tried with: RDS Proxy and PgBouncer do not quote them, and a server whose
    `lc_messages` is not English has other quotation marks.
    """
    reason = re.split(r"failed: |FATAL: ", message.strip().splitlines()[0] if message.strip() else "no answer")[-1]
    reason = re.sub(r"\"[^\"]*\"|'[^']*'", "…", reason.strip())
    for value in known:
        reason = re.sub(rf"(?<!\w){re.escape(value)}(?!\w)", "…", reason)
    addresses = r"(?<![\w.-])(?!pg_hba\.conf\b)[\w.-]*\.[\w.-]+\b|\b[0-9a-fA-F:]*:[0-9a-fA-F:]+\b"
    return re.sub(addresses, "…", reason)
