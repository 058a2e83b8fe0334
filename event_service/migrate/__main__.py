"""Brings the database's schema up to date: `python -m event_service.migrate`."""

import os
import sys

import psycopg

from event_service.config import ConfigurationError, DatabaseSettings
from event_service.migrate.schema import migrate


def main() -> int:
    """Migrate the database that the environment names; return the exit status."""
    try:
        names = migrate(DatabaseSettings.from_environment(os.environ))
    except psycopg.ProgrammingError as exc:
        # Without a code it is about the URL, and quotes it with the password.
        print(f"migrate: {exc if exc.sqlstate else 'DATABASE_URL is no libpq URL'}", file=sys.stderr)
        return 2
    except (ConfigurationError, psycopg.Error) as exc:
        print(f"migrate: {exc}", file=sys.stderr)
        return 2
    print("\n".join(f"applied {name}" for name in names) or "the schema is up to date")
    return 0


if __name__ == "__main__":
    sys.exit(main())
