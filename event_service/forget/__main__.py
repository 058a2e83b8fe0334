"""Erases a person's personal data: `python -m event_service.forget --user ID`.

E-mail addresses, message texts and URLs are removed from the event store, the notifications and the facts that wait in
the outbox (docs/erasure.md has the rule). Every event stays, with its type, ids, key and order. Run an interrupted
erasure again to resume it. At the end everything is read back.

Exit status: 0 nothing personal is left, 1 something is (run it again), 2 it could not be done.
"""

import argparse
import os
import sys
from collections.abc import Sequence

from pydantic import TypeAdapter, ValidationError

from event_service.adapters.upkeep import drop_shadow, exclusive_connection
from event_service.cli import make_parser, make_patient_client, run, secrets_client
from event_service.codec.instants import now
from event_service.config import DatabaseSettings, event_retention_days, event_store_table
from event_service.domain.formats import Identifier
from event_service.errors import CommandError
from event_service.forget.erasure import Erasure, erase


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
    options = parser.parse_args(arguments)
    return run("forget", lambda: _forget(options))


def _forget(options: argparse.Namespace) -> int:
    table, database = event_store_table(os.environ), DatabaseSettings.from_environment(os.environ)
    retention_days = event_retention_days(os.environ)
    try:
        TypeAdapter(Identifier).validate_python(options.user)
    except ValidationError as exc:
        raise CommandError(f"--user is not a userId: {exc.errors()[0]['msg']}") from exc
    if not (options.dry_run or options.yes) and not _confirmed(options.user, table):
        raise CommandError("not confirmed; nothing was changed")
    with exclusive_connection(database, secrets_client) as connection:

        def task(*, writes: bool) -> Erasure:
            return Erasure(options.user, table, make_patient_client("dynamodb"), connection, writes, retention_days)

        if not options.dry_run:
            drop_shadow(connection)  # it holds everybody's rows, including this person's
            erasing = task(writes=True)
            erase(erasing)
            _print("erased", erasing)
        reading = task(writes=False)
        erase(reading)
        _print("would be erased" if options.dry_run else "left", reading)
    return int(not options.dry_run and reading.personal.total() > 0)


def _confirmed(user_id: str, table: str) -> bool:
    print(f"This erases personal data of user {user_id} in {table} and in PostgreSQL, and cannot be undone.")
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
