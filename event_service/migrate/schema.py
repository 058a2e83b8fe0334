"""The database's schema, brought up to date by numbered migrations."""

from importlib import resources
from importlib.resources.abc import Traversable
from typing import Final

from event_service.adapters.postgres import SecretsClient, TimeLimitedConnection, connect
from event_service.cli import secrets_client
from event_service.config import DatabaseSettings
from event_service.errors import CommandError

LOCK: Final = 0x65767473  # any number that no other advisory lock in the database has


def migrate(settings: DatabaseSettings, secrets: SecretsClient = secrets_client) -> list[str]:
    """Apply the migrations that are missing, all or none, and return their names.

    Raises:
        CommandError: the original service's table is in the way.
        psycopg.Error: the database cannot be reached, is not in UTF-8, or refuses a migration.

    """
    with connect(settings, secrets) as connection, connection.transaction():
        # A concurrent run waits here, then finds nothing to apply.
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK,))
        # Fail fast on locks from here on: waiting would queue every other session behind us.
        connection.execute("SET LOCAL lock_timeout = '10s'")
        connection.execute(
            "CREATE TABLE IF NOT EXISTS schema_migrations"
            " (name text PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())"
        )
        missing = _missing(connection)
        if len(missing) == len(_migrations()):
            _check_for_the_original_table(connection)
        for file in missing:
            connection.execute(file.read_bytes())
            connection.execute("INSERT INTO schema_migrations (name) VALUES (%s)", (file.name,))
    return [file.name for file in missing]


def missing_migrations(settings: DatabaseSettings) -> list[str]:
    """Return the names of the migrations that are missing, and change nothing.

    Raises:
        psycopg.Error: the database cannot be reached, or is not in UTF-8.

    """
    with connect(settings, secrets_client) as connection:
        known = connection.execute("SELECT to_regclass('schema_migrations') IS NOT NULL").fetchone() == (True,)
        return [file.name for file in (_missing(connection) if known else _migrations())]


def _missing(connection: TimeLimitedConnection) -> list[Traversable]:
    applied = {name for (name,) in connection.execute("SELECT name FROM schema_migrations")}
    return [file for file in _migrations() if file.name not in applied]


def _migrations() -> list[Traversable]:
    files = resources.files("event_service.migrations").iterdir()
    return sorted((file for file in files if file.name.endswith(".sql")), key=lambda file: file.name)


def _check_for_the_original_table(connection: TimeLimitedConnection) -> None:
    found = connection.execute(
        "SELECT relname FROM pg_class WHERE oid = to_regclass('notification') AND relkind IN ('r', 'p')"
    )
    if found.fetchone():
        raise CommandError(
            'the table "notification" of the original service has the name of a view that this would create: rename it'
            ' (ALTER TABLE "notification" RENAME TO "notification_original") and run this again'
        )
