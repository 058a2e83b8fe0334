"""Brings the database's schema up to date: `python -m event_service.migrate`.

Applying the migrations twice, or twice at the same time, is harmless. Afterwards, the roles whose secrets are named by
DATABASE_ROLE_SECRET_ARN and DATABASE_SCHEDULER_SECRET_ARN get their names, passwords and rights.

With --stack, the stack's operations function does this next to the data, and nothing but that name is needed here.

Exit status: 0 the schema is up to date, 1 --check found that it is not, 2 it could not be brought up to date.
"""

import argparse
import os
import sys
from collections.abc import Sequence

from event_service.cli import add_stack, run, secrets_client
from event_service.config import DatabaseSettings
from event_service.console import make_parser
from event_service.migrate.role import update_roles
from event_service.migrate.schema import migrate, missing_migrations
from event_service.remote import drive

_LAMBDA_SECONDS = 900  # the longest invocation: a migration cannot be resumed


def main(arguments: Sequence[str] | None = None) -> int:
    """Migrate the database that the environment names; return the exit status."""
    parser = make_parser(
        "migrate",
        __doc__,
        "DATABASE_URL (or DATABASE_SECRET_ARN, _HOST, _NAME), DATABASE_*_SECRET_ARN",
    )
    parser.add_argument("--check", action="store_true", help="change nothing, and name the migrations that are missing")
    add_stack(parser)
    options = parser.parse_args(arguments)
    return run("migrate", lambda: _migrate(options))


def _migrate(options: argparse.Namespace) -> int:
    if options.stack:
        return drive(options.stack, ["migrate", *(["--check"] if options.check else [])], longest=_LAMBDA_SECONDS)
    database = DatabaseSettings.from_environment(os.environ)
    names = missing_migrations(database) if options.check else migrate(database)
    verb = "missing" if options.check else "applied"
    print("\n".join(f"{verb} {name}" for name in names) or "the schema is up to date")
    if options.check:
        return int(bool(names))
    for role in update_roles(database, os.environ, secrets_client):
        print(f"the role {role} is up to date")
    return 0


if __name__ == "__main__":
    sys.exit(main())
