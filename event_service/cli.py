"""What the commands share: patient clients, parsers, progress, and errors as one line without anybody's data."""

import argparse
import io
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from event_service.config import ConfigurationError
from event_service.errors import CommandError, Unavailable, internal_error


def make_parser(name: str, doc: str | None, environment: str = "") -> argparse.ArgumentParser:
    """Return the argument parser of `python -m event_service.<name>`; `doc` is its module's docstring."""
    description, _, details = (doc or "").partition("\n\n")
    return argparse.ArgumentParser(
        f"python -m event_service.{name}",
        description=description,
        epilog=details + (f"\nEnvironment: {environment}." if environment else ""),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def make_patient_client(service: str) -> Any:
    """Return an AWS client that waits and retries for minutes: no invocation ends here.

    Raises:
        CommandError: the environment names an endpoint that is not a URL.
        botocore.exceptions.BotoCoreError: it names no region, or a profile that does not exist.

    """
    import botocore.session  # noqa: PLC0415  # `check` needs no AWS package
    from botocore.config import Config  # noqa: PLC0415

    retries = {"mode": "standard", "total_max_attempts": 10}
    config = Config(connect_timeout=5, read_timeout=60, retries=retries, parameter_validation=False)  # type: ignore[arg-type]  # the stubs want their own dict
    try:
        return botocore.session.get_session().create_client(service, config=config)
    except ValueError as exc:
        raise CommandError(str(exc)) from exc


def secrets_client() -> Any:
    """Return a client of Secrets Manager; with `DATABASE_URL` nobody needs it."""
    return make_patient_client("secretsmanager")


def run(name: str, command: Callable[[], int]) -> int:
    """Run a command and return its exit status: 2, with the reason as one line, if it could not do its work.

    As in a shell, it is 128 plus the number of the signal if Ctrl-C ended it, or if its reader (`head`) had enough.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal without Unicode is no reason to stop
    try:
        status = command()
        sys.stdout.flush()
    except KeyboardInterrupt:
        print(f"{name}: interrupted; run the same command again to resume", file=sys.stderr)
        return 128 + signal.SIGINT
    except BrokenPipeError:
        _discard_output()
        return 128 + signal.SIGPIPE
    except Exception as exc:  # noqa: BLE001  # a bug ends with one line, too
        if isinstance(exc, OSError):
            _discard_output()
        print(f"{name}: {reason_of(exc)}", file=sys.stderr)
        return 2
    return status


def reason_of(exc: Exception) -> str:
    """Return why a command failed, as one line without any value of an event or a row."""
    if isinstance(exc, ConfigurationError | CommandError | Unavailable):
        return str(exc)
    if isinstance(exc, OSError):
        return exc.strerror or type(exc).__name__
    return _reason_of_backend(exc) or str(internal_error(exc))


def _reason_of_backend(exc: Exception) -> str | None:
    """Return the reason of an error that a backend's package raised, if that package is loaded."""
    if "psycopg" in sys.modules:
        import psycopg  # noqa: PLC0415

        from event_service.adapters.postgres import describe  # noqa: PLC0415

        if isinstance(exc, psycopg.Error):
            return f"PostgreSQL: {describe(exc)}"
    if "botocore" in sys.modules:
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

        if isinstance(exc, BotoCoreError):
            return str(exc)
        if isinstance(exc, ClientError):
            return f"{exc.operation_name}: {exc.response['Error']['Code']}"
    return None


def _discard_output() -> None:
    """Give the interpreter somewhere to flush to when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
