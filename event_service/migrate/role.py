"""The roles in PostgreSQL that use what the migrations create."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import psycopg
from psycopg import sql

from event_service.adapters.postgres import SecretsClient, connect, connection_parameters
from event_service.config import DatabaseSettings
from event_service.migrate.schema import LOCK

_READER: Final = "notification_reader"  # the rights of the notification-scheduler's role


def update_roles(settings: DatabaseSettings, environment: Mapping[str, str], secrets: SecretsClient) -> list[str]:
    """Create or alter the role of each secret that the environment names, and return their names.

    `DATABASE_ROLE_SECRET_ARN` is the function's, `DATABASE_SCHEDULER_SECRET_ARN` the notification-scheduler's.

    Raises:
        psycopg.Error: the database or a secret cannot be reached, or refuses.

    """
    updated: list[str] = []
    for variable, give in (("DATABASE_ROLE_SECRET_ARN", grant), ("DATABASE_SCHEDULER_SECRET_ARN", grant_view)):
        if role_secret := environment.get(variable):
            role = connection_parameters(replace(settings, secret_arn=role_secret), secrets)
            with connect(settings, secrets) as connection, connection.transaction():
                connection.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK,))
                give(connection, role["user"], role["password"])
            updated.append(role["user"])
    return updated


def grant(connection: psycopg.Connection[Any], user: str, password: str) -> None:
    """Create or alter the login role that calls the functions, and a role that reads the view.

    Raises:
        psycopg.Error: the connection's role may not do so.

    """
    _put_login(connection, user, password)
    _put_role(connection, _READER, sql.SQL("NOLOGIN"))
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


def grant_view(connection: psycopg.Connection[Any], user: str, password: str) -> None:
    """Create or alter the login role of the notification-scheduler: it reads the view and nothing else.

    Raises:
        psycopg.Error: the connection's role may not do so, or `grant` was never called.

    """
    _put_login(connection, user, password)
    connection.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(_READER), sql.Identifier(user)))


def _put_login(connection: psycopg.Connection[Any], user: str, password: str) -> None:
    """PostgreSQL may log the statement: it holds a SCRAM verifier made here, never the password."""
    verifier = connection.pgconn.encrypt_password(password.encode(), user.encode(), b"scram-sha-256").decode()
    _put_role(connection, user, sql.SQL("LOGIN PASSWORD {}").format(verifier))


def _put_role(connection: psycopg.Connection[Any], name: str, options: sql.Composable) -> None:
    exists = connection.execute("SELECT FROM pg_roles WHERE rolname = %s", (name,)).fetchone() is not None
    verb = sql.SQL("ALTER" if exists else "CREATE")
    connection.execute(sql.SQL("{} ROLE {} {}").format(verb, sql.Identifier(name), options))
