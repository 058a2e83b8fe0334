"""The function's role in PostgreSQL, and the one that the notification-scheduler's role is granted."""

from dataclasses import replace
from typing import Any, Final

import psycopg
from psycopg import sql

from event_service.adapters.postgres import SecretsClient, connect, connection_parameters
from event_service.config import DatabaseSettings
from event_service.migrate.schema import LOCK

_READER: Final = "notification_reader"


def update_role(settings: DatabaseSettings, role_secret: str, secrets: SecretsClient) -> None:
    """Give the function's role the name and the password of a secret, and the rights that it needs.

    Raises:
        psycopg.Error: the database or a secret cannot be reached, or refuses.

    """
    role = connection_parameters(replace(settings, secret_arn=role_secret), secrets)
    with connect(settings, secrets) as connection, connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK,))
        grant(connection, role["user"], role["password"])


def grant(connection: psycopg.Connection[Any], user: str, password: str) -> None:
    """Create or alter the login role that calls the functions, and a role that reads the view.

    PostgreSQL may log the statement: it holds a SCRAM verifier made here, never the password.

    Raises:
        psycopg.Error: the connection's role may not do so.

    """
    verifier = connection.pgconn.encrypt_password(password.encode(), user.encode(), b"scram-sha-256").decode()
    for name, options in ((user, sql.SQL("LOGIN PASSWORD {}").format(verifier)), (_READER, sql.SQL("NOLOGIN"))):
        exists = connection.execute("SELECT FROM pg_roles WHERE rolname = %s", (name,)).fetchone() is not None
        verb = sql.SQL("ALTER" if exists else "CREATE")
        connection.execute(sql.SQL("{} ROLE {} {}").format(verb, sql.Identifier(name), options))
    row = connection.execute("SELECT current_schema()").fetchone()
    schema = sql.Identifier(row[0] if row else "public")
    for statement in (
        "GRANT USAGE ON SCHEMA {schema} TO {user}, {reader}",
        "GRANT EXECUTE ON FUNCTION apply_events(json), acknowledge_facts(json, integer), outbox_age() TO {user}",
        'GRANT SELECT ON "notification" TO {reader}',
    ):
        connection.execute(
            sql.SQL(statement).format(schema=schema, user=sql.Identifier(user), reader=sql.Identifier(_READER))
        )
