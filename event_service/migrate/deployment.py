"""The Lambda function that migrates the database during a deployment, as a CloudFormation custom resource."""

import json
import os
import urllib.request
from dataclasses import replace
from typing import Any

import psycopg
from psycopg import sql

from event_service.adapters.postgres import connect, connection_parameters
from event_service.cli import secrets_client
from event_service.config import ConfigurationError, DatabaseSettings
from event_service.errors import CommandError
from event_service.migrate.schema import LOCK, migrate

_READER = "notification_reader"  # the rights of the notification-scheduler's role
_RESPONSE_SECONDS = 10
_MAX_REASON = 1000  # the whole response may have 4096 bytes


def lambda_handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Migrate the database, and respond to CloudFormation if the event comes from it.

    https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/crpg-ref-requesttypes.html
    A deletion leaves the database as it is. Without a `ResponseURL` it is a direct invocation.

    Returns:
        `Status` (`SUCCESS` or `FAILED`), `Reason`, and as `Data` the names of the migrations applied.

    """
    response: dict[str, Any] = {"Status": "SUCCESS", "Reason": "", "Data": {"Applied": ""}}
    if event.get("RequestType") != "Delete":
        try:
            response["Data"]["Applied"] = ", ".join(update_database(DatabaseSettings.from_environment(os.environ)))
        except (ConfigurationError, CommandError, psycopg.Error) as exc:
            response |= {"Status": "FAILED", "Reason": _reason(exc)}
        except Exception as exc:  # noqa: BLE001  # without a response, CloudFormation would wait for an hour
            response |= {"Status": "FAILED", "Reason": f"a bug in {__name__}: {type(exc).__name__}"}
    if url := event.get("ResponseURL"):
        names = ("StackId", "RequestId", "LogicalResourceId")
        body = response | {name: event[name] for name in names}
        body["PhysicalResourceId"] = event.get("PhysicalResourceId", "event-service-database")
        body["Reason"] = response["Reason"] or f"see the log stream {getattr(context, 'log_stream_name', '')}"
        # No content type: the URL's signature does not include one.
        request = urllib.request.Request(  # noqa: S310  # CloudFormation's own URL
            url, json.dumps(body).encode(), {"Content-Type": ""}, method="PUT"
        )
        with urllib.request.urlopen(request, timeout=_RESPONSE_SECONDS):  # noqa: S310
            pass
    print(json.dumps(response))  # the log
    return response


def update_database(settings: DatabaseSettings) -> list[str]:
    """Apply the missing migrations, then create or alter the role of each secret that the environment names.

    `DATABASE_ROLE_SECRET_ARN` is the function's, `DATABASE_SCHEDULER_SECRET_ARN` the notification-scheduler's. A secret
    with which this function itself connects is that of the owner, who needs no rights.

    Raises:
        psycopg.Error: the database or the secret cannot be reached, or refuses.

    """
    applied = migrate(settings)
    for variable, give in (("DATABASE_ROLE_SECRET_ARN", grant), ("DATABASE_SCHEDULER_SECRET_ARN", grant_view)):
        role_secret = os.environ.get(variable)
        if role_secret and role_secret != settings.secret_arn:
            role = connection_parameters(replace(settings, secret_arn=role_secret), secrets_client)
            with connect(settings, secrets_client) as connection, connection.transaction():
                connection.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK,))
                give(connection, role["user"], role["password"])
    return applied


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


def _reason(exc: Exception) -> str:
    """Return what PostgreSQL says, but neither its detail, which quotes rows, nor a URL that it cannot read."""
    if isinstance(exc, psycopg.ProgrammingError) and not exc.sqlstate:
        return "DATABASE_URL is not a libpq URL"
    if isinstance(exc, psycopg.Error) and exc.diag.message_primary:
        return f"{exc.sqlstate}: {exc.diag.message_primary}"[:_MAX_REASON]
    return f"{type(exc).__name__}: {exc}"[:_MAX_REASON]
