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
from urllib3.exceptions import HTTPError

from event_service.config import ConfigurationError, DatabaseSettings
from event_service.database import TimeLimitedConnection, connect
from event_service.errors import Unavailable

SHADOW: Final = "rebuild_shadow"  # beside notifications, to compare the two
_LOCK: Final = 0x65767472  # any number that no other user of the database's advisory locks has


class CommandError(Exception):
    """A command cannot do what it was asked for; the message says why."""


def make_client(service: str) -> Any:
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
    connection = connect(settings, partial(make_client, "secretsmanager"))
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


def merge(
    connection: TimeLimitedConnection, target: str, requests: Sequence[str], *, emptied: bool | None = None
) -> list[str]:
    """Merge folded events (`replay.fold`) into a table and return the requests that were refused.

    A row that PostgreSQL refuses for what it holds is left out alone. What is merged into a table that was `emptied`,
    or was not, is noted, so that events which the service comes to afterwards get their facts; None notes nothing.

    Raises:
        psycopg.Error: something else went wrong.

    """
    events = f"[{','.join(requests)}]"
    try:
        with connection.transaction():
            if emptied is not None:
                connection.execute("SELECT note_merged_events(%s::json, %s)", (events, emptied))
            connection.execute("SELECT merge_notifications(%s::regclass, %s::json)", (target, events))
    except (psycopg.DataError, psycopg.errors.CheckViolation, psycopg.errors.ProgramLimitExceeded):
        if len(requests) == 1:
            return [*requests]
        half = len(requests) // 2
        return [
            *merge(connection, target, requests[:half], emptied=emptied),
            *merge(connection, target, requests[half:], emptied=emptied),
        ]
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
    except (ConfigurationError, CommandError, BotoCoreError, Unavailable) as exc:
        reason = str(exc)
    except ClientError as exc:
        reason = f"{exc.operation_name}: {exc.response['Error']['Code']}"
    except HTTPError as exc:
        reason = f"no answer from AWS: {type(exc).__name__}"
    except psycopg.Error as exc:  # its text may quote a row, or the URL with its password
        hint = {"42P01": ": run `python -m event_service.migrate`", "42883": ": run `python -m event_service.migrate`"}
        reason = f"PostgreSQL: {type(exc).__name__} ({exc.sqlstate or 'no answer, or DATABASE_URL is no libpq URL'})"
        reason += hint.get(exc.sqlstate or "", "")
    except BrokenPipeError:
        _discard_output()
        return 128 + signal.SIGPIPE
    except OSError as exc:
        _discard_output()
        reason = exc.strerror or type(exc).__name__
    except KeyboardInterrupt:
        print(f"{name}: broken off; the same command goes on", file=sys.stderr)
        return 128 + signal.SIGINT
    else:
        return status
    print(f"{name}: {reason}", file=sys.stderr)
    return 2


def _discard_output() -> None:
    """Let the interpreter have somewhere to flush to when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
