"""Brings the database's schema up to date: `python -m event_service.migrate`."""

from importlib import resources
from typing import Any

from event_service.adapters.postgres import connect
from event_service.config import DatabaseSettings

LOCK = 0x65767473  # any number that no other user of the database's advisory locks has


def migrate(settings: DatabaseSettings) -> list[str]:
    """Apply the migrations that are missing, all or none, and return their names.

    Raises:
        psycopg.Error: the database cannot be reached, or refuses one.

    """
    files = sorted(
        (file for file in resources.files("event_service.migrations").iterdir() if file.name.endswith(".sql")),
        key=lambda file: file.name,
    )
    with connect(settings, secrets_client) as connection, connection.transaction():
        # Whoever comes second waits here, and then finds nothing left to do.
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK,))
        # From here on rather fail than wait for a lock: whoever else needs the table would wait behind this.
        connection.execute("SET LOCAL lock_timeout = '10s'")
        connection.execute(
            "CREATE TABLE IF NOT EXISTS schema_migrations"
            " (name text PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())"
        )
        applied = {name for (name,) in connection.execute("SELECT name FROM schema_migrations")}
        missing = [file for file in files if file.name not in applied]
        for file in missing:
            connection.execute(file.read_bytes())
            connection.execute("INSERT INTO schema_migrations (name) VALUES (%s)", (file.name,))
    return [file.name for file in missing]


def secrets_client() -> Any:
    """Return a client of Secrets Manager."""
    import botocore.session  # noqa: PLC0415  # with DATABASE_URL nobody needs it

    from event_service.adapters.aws import make_client  # noqa: PLC0415

    return make_client(botocore.session.get_session(), "secretsmanager")
