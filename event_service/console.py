"""How every command begins and ends: its parser, its exit status, and errors as one line on standard error."""

import argparse
import io
import os
import signal
import sys
from collections.abc import Callable
from typing import Final

from event_service.errors import Paused, internal_error

PAUSED: Final = 75  # EX_TEMPFAIL of sysexits.h: try again later


def make_parser(name: str, doc: str | None, environment: str = "") -> argparse.ArgumentParser:
    """Return the argument parser of `python -m event_service.<name>`; `doc` is its module's docstring."""
    description, _, details = (doc or "").partition("\n\n")
    return argparse.ArgumentParser(
        f"python -m event_service.{name}",
        description=description,
        epilog=details + (f"\nEnvironment: {environment}." if environment else ""),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def run(name: str, command: Callable[[], int], reason_of: Callable[[Exception], str | None] = lambda _: None) -> int:
    """Run a command and return its exit status: 2, with the reason as one line, if it raises.

    As in a shell, the status is 128 plus the signal's number after Ctrl-C, or if the reader of the output (`head`)
    closed it. It is `PAUSED` if the command's time was up. `reason_of` explains the exceptions that the command knows;
    None leaves an exception to this function.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # the terminal may not support Unicode
    try:
        status = command()
        sys.stdout.flush()
    except KeyboardInterrupt:
        print(f"{name}: interrupted; run the same command again to resume", file=sys.stderr)
        return 128 + signal.SIGINT
    except Paused:
        return PAUSED
    except BrokenPipeError:
        _discard_output()
        return 128 + signal.SIGPIPE
    except Exception as exc:  # noqa: BLE001  # a bug is reported as one line too
        if isinstance(exc, OSError):
            _discard_output()
        print(f"{name}: {reason_of(exc) or _reason(exc)}", file=sys.stderr)
        return 2
    return status


def _reason(exc: Exception) -> str:
    if isinstance(exc, OSError):
        return exc.strerror or type(exc).__name__
    return str(internal_error(exc))


def _discard_output() -> None:
    """Give the interpreter something to flush to at exit."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # not what the operations function collects
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
