"""What the commands have in common: clients with patience, and errors as one line without anybody's data."""

import io
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, Final

import botocore.session
import psycopg
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from event_service.adapters.postgres import TimeLimitedConnection, connect
from event_service.codec.json_text import compose_array
from event_service.config import ConfigurationError, DatabaseSettings
from event_service.errors import Unavailable, internal_error

NOTIFICATIONS: Final = "notifications"
SHADOW: Final = "rebuild_shadow"  # beside notifications, to compare the two
_LOCK: Final = 0x65767472  # any number that no other user of the database's advisory locks has


class CommandError(Exception):
    """A command cannot do what it was asked for; the message says why."""


def make_patient_client(service: str) -> Any:
    """Return a client that waits and tries again for minutes: no invocation ends here.

    Raises:
        CommandError: the environment names an endpoint that is no URL.
        botocore.exceptions.BotoCoreError: it names no region, or a profile that does not exist.

    """
    retries = {"mode": "standard", "total_max_attempts": 10}
    config = Config(connect_timeout=5, read_timeout=60, retries=retries, parameter_validation=False)  # type: ignore[arg-type]  # the stubs want their own dict
    try:
        return botocore.session.get_session().create_client(service, config=config)
    except ValueError as exc:
        raise CommandError(str(exc)) from exc


def open_database(settings: DatabaseSettings) -> TimeLimitedConnection:
    """Open an autocommit connection.

    Raises:
        psycopg.Error: it cannot be opened.

    """
    connection = connect(settings, partial(make_patient_client, "secretsmanager"))
    connection.execute("SET timezone = 'UTC'")  # in another zone the last hours of the year 9999 are in no year
    return connection


@contextmanager
def alone(settings: DatabaseSettings) -> Iterator[TimeLimitedConnection]:
    """Open a connection and keep every other command that writes notifications away as long as it is open.

    What one has read before another erased it would come back.

    Raises:
        CommandError: another such command is running.
        psycopg.Error: the connection cannot be opened.

    """
    with open_database(settings) as connection:
        if connection.execute("SELECT pg_try_advisory_lock(%s)", (_LOCK,)).fetchone() != (True,):
            raise CommandError("another rebuild or erasure is running")
        try:
            yield connection
        finally:
            with suppress(psycopg.Error):  # a connection that is lost has lost the lock too
                connection.execute("SELECT pg_advisory_unlock(%s)", (_LOCK,))  # closing does so a moment later


def drop_shadow(connection: TimeLimitedConnection) -> None:
    """Drop the table that a comparison rebuilds into, which one that was killed leaves behind.

    Raises:
        psycopg.Error: it is not the connection's to drop.

    """
    connection.execute("SET client_min_messages = warning")
    connection.execute(f"DROP TABLE IF EXISTS {SHADOW}")
    connection.execute("DELETE FROM rebuild_progress WHERE target = %s", (SHADOW,))


def note_merge(connection: TimeLimitedConnection) -> None:
    """Note that events are going to be applied without facts: one that the service comes to afterwards gets its fact.

    Raises:
        psycopg.Error: it cannot be noted.

    """
    connection.execute("DELETE FROM merges WHERE begun_at < now() - interval '30 days'")
    connection.execute("INSERT INTO merges DEFAULT VALUES")


def merge(connection: TimeLimitedConnection, target: str, requests: Sequence[str]) -> list[str]:
    """Merge folded events (`replay.fold`) into a table and return the requests that were refused.

    A row that PostgreSQL refuses for what it holds is left out alone.

    Raises:
        psycopg.Error: something else went wrong.

    """
    try:
        connection.execute("SELECT merge_notifications(%s::regclass, %s::json)", (target, compose_array(requests)))
    except (psycopg.DataError, psycopg.errors.CheckViolation, psycopg.errors.ProgramLimitExceeded):
        if len(requests) == 1:
            return [*requests]
        half = len(requests) // 2
        return [*merge(connection, target, requests[:half]), *merge(connection, target, requests[half:])]
    return []


def run(name: str, command: Callable[[], int]) -> int:
    """Run a command and return its exit status: 2, with the reason as one line, where it could not do its work.

    As from a shell, it is 128 and the number of the signal where Ctrl-C ended it, or its reader (`head`) had enough.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal without Unicode is no reason to stop
    try:
        status = command()
        sys.stdout.flush()
    except KeyboardInterrupt:
        print(f"{name}: broken off; the same command goes on", file=sys.stderr)
        return 128 + signal.SIGINT
    except BrokenPipeError:
        _discard_output()
        return 128 + signal.SIGPIPE
    except Exception as exc:  # noqa: BLE001  # also a bug ends with one line
        if isinstance(exc, OSError):
            _discard_output()
        print(f"{name}: {_reason(exc)}", file=sys.stderr)
        return 2
    return status


def _reason(exc: Exception) -> str:
    match exc:
        case ConfigurationError() | CommandError() | BotoCoreError() | Unavailable():
            return str(exc)
        case ClientError():
            return f"{exc.operation_name}: {exc.response['Error']['Code']}"
        case psycopg.Error():  # its text may quote a row, or the URL with its password
            hint = ": run `python -m event_service.migrate`" if exc.sqlstate in ("42P01", "42883") else ""
            sqlstate = exc.sqlstate or "no answer, or DATABASE_URL is no libpq URL"
            return f"PostgreSQL: {type(exc).__name__} ({sqlstate}){hint}"
        case OSError():
            return exc.strerror or type(exc).__name__
    return str(internal_error(exc))


def _discard_output() -> None:
    """Let the interpreter have somewhere to flush to when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
