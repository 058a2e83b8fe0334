"""Erases a person's personal data: `python -m event_service.forget --user ID`.

E-mail addresses, message texts and URLs are removed from the event store, the notifications and the facts that wait in
the outbox (docs/erasure.md has the rule). Every event stays, with its type, ids, key and order. Run an interrupted
erasure again to resume it. At the end everything is read back.

With --stack, the stack's operations function does this next to the data, and nothing but that name is needed here.

Exit status: 0 nothing personal is left, 1 something is (run it again), 2 it could not be done, 75 the time given with
--seconds was up (run it again).
"""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Final

from pydantic import TypeAdapter, ValidationError

from event_service.adapters.upkeep import drop_shadow, exclusive_connection
from event_service.cli import add_seconds, add_stack, deadline_of, make_patient_client, run, secrets_client
from event_service.codec.instants import now
from event_service.config import DatabaseSettings, event_retention_days, event_store_table
from event_service.console import make_parser
from event_service.domain.formats import Identifier
from event_service.errors import CommandError
from event_service.forget.erasure import Erasure, erase
from event_service.remote import drive

# An erasure reads everything again after each pause: long invocations repeat less.
_LONGEST_SECONDS: Final = 840


def main(arguments: Sequence[str] | None = None) -> int:
    """Erase the data of the person that the command line names; return the exit status."""
    parser = make_parser(
        "forget",
        __doc__,
        "EVENT_STORE_TABLE, DATABASE_URL (or DATABASE_SECRET_ARN, _HOST, _NAME), AWS_*;"
        " EVENT_RETENTION_DAYS if the service has it",
    )
    parser.add_argument("--user", required=True, metavar="ID", help="the userId of the person")
    parser.add_argument("--dry-run", action="store_true", help="change nothing, and count what would be erased")
    parser.add_argument("--yes", action="store_true", help="do not ask for confirmation")
    add_stack(parser)
    add_seconds(parser)
    options = parser.parse_args(arguments)
    return run("forget", lambda: _drive(options) if options.stack else _forget(options))


def _drive(options: argparse.Namespace) -> int:
    _check(options, f"the stack {options.stack}")
    mode = "--dry-run" if options.dry_run else "--yes"
    return drive(options.stack, ["forget", f"--user={options.user}", mode], longest=_LONGEST_SECONDS)


def _check(options: argparse.Namespace, where: str) -> None:
    """Refuse an invalid user id, and an erasure that is not confirmed."""
    try:
        TypeAdapter(Identifier).validate_python(options.user)
    except ValidationError as exc:
        raise CommandError(f"--user is not a userId: {exc.errors()[0]['msg']}") from exc
    if not (options.dry_run or options.yes) and not _confirmed(options.user, where):
        raise CommandError("not confirmed; nothing was changed")


def _forget(options: argparse.Namespace) -> int:
    table, database = event_store_table(os.environ), DatabaseSettings.from_environment(os.environ)
    retention_days, deadline = event_retention_days(os.environ), deadline_of(options)
    _check(options, f"{table} and in PostgreSQL")
    with exclusive_connection(database, secrets_client) as connection:

        def task(*, writes: bool) -> Erasure:
            client = make_patient_client("dynamodb")
            return Erasure(options.user, table, client, connection, writes, retention_days, deadline)

        if not options.dry_run:
            drop_shadow(connection)  # it holds everybody's rows, including this person's
            erasing = task(writes=True)
            erase(erasing)
            _print("erased", erasing)
        reading = task(writes=False)
        erase(reading)
        _print("would be erased" if options.dry_run else "left", reading)
    return int(not options.dry_run and reading.personal.total() > 0)


def _confirmed(user_id: str, where: str) -> bool:
    print(f"This erases personal data of user {user_id} in {where}, and cannot be undone.")
    try:
        return input("Type the user id to continue: ") == user_id
    except EOFError:
        return False


def _print(what: str, task: Erasure) -> None:
    counts = ", ".join(
        f"{task.personal[kind]:,} of {count:,} {kind}" for kind, count in sorted(task.seen.items()) if count
    )
    print(f"forget: {now()} {task.user_id}: {what}: {counts or 'there is nothing of this user'}")


if __name__ == "__main__":
    sys.exit(main())
