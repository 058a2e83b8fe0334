"""Brings the database's schema up to date: `python -m event_service.migrate`.

Applying the migrations twice, or twice at the same time, is harmless.

Exit status: 0 the schema is up to date, 2 it could not be brought up to date.
"""

import os
import sys
from collections.abc import Sequence

from event_service.cli import make_parser, run
from event_service.config import DatabaseSettings
from event_service.migrate.schema import migrate


def main(arguments: Sequence[str] | None = None) -> int:
    """Migrate the database that the environment names; return the exit status."""
    make_parser("migrate", __doc__, "DATABASE_URL (or DATABASE_SECRET_ARN, _HOST, _NAME)").parse_args(arguments)
    return run("migrate", _migrate)


def _migrate() -> int:
    names = migrate(DatabaseSettings.from_environment(os.environ))
    print("\n".join(f"applied {name}" for name in names) or "the schema is up to date")
    return 0


if __name__ == "__main__":
    sys.exit(main())
