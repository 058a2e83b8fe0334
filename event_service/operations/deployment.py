"""The migrations during a deployment, as a custom resource of CloudFormation."""

import json
import os
import time
import urllib.request
from typing import Any, Final

import botocore.session
import psycopg

from event_service.adapters.aws import make_client
from event_service.config import ConfigurationError, DatabaseSettings
from event_service.deadline import Deadline
from event_service.errors import CommandError
from event_service.migrate.role import update_roles
from event_service.migrate.schema import migrate

# A new network, name server, role, secret and database take a while until they work.
_WAIT_SECONDS: Final = 200
_RESERVE_SECONDS: Final = 30  # for the attempt in progress, and to answer
_PAUSE_SECONDS: Final = 2
_RESPONSE_SECONDS: Final = 10
_MAX_REASON: Final = 1000  # the whole response may have 4096 bytes


def respond(event: dict[str, Any], context: Any, deadline: Deadline) -> dict[str, Any]:
    """Migrate the database, and respond to CloudFormation.

    https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/crpg-ref-requesttypes.html
    A deletion leaves the database as it is.

    Returns:
        `Status` (`SUCCESS` or `FAILED`), `Reason`, and as `Data` the names of the migrations applied.

    """
    response: dict[str, Any] = {"Status": "SUCCESS", "Reason": "", "Data": {"Applied": ""}}
    if event["RequestType"] != "Delete":
        try:
            until = Deadline.after(min(_WAIT_SECONDS, deadline.remaining() - _RESERVE_SECONDS))
            response["Data"]["Applied"] = ", ".join(_update_database(until))
        except (ConfigurationError, CommandError, psycopg.Error) as exc:
            response |= {"Status": "FAILED", "Reason": _reason(exc)}
        except Exception as exc:  # noqa: BLE001  # without a response, CloudFormation would wait for an hour
            response |= {"Status": "FAILED", "Reason": f"a bug in {__name__}: {type(exc).__name__}"}
    body = response | {name: event[name] for name in ("StackId", "RequestId", "LogicalResourceId")}
    body["PhysicalResourceId"] = event.get("PhysicalResourceId", "event-service-database")
    body["Reason"] = response["Reason"] or f"see the log stream {getattr(context, 'log_stream_name', '')}"
    # No content type: the URL's signature does not include one.
    request = urllib.request.Request(  # noqa: S310  # CloudFormation's own URL
        event["ResponseURL"], json.dumps(body).encode(), {"Content-Type": ""}, method="PUT"
    )
    with urllib.request.urlopen(request, timeout=_RESPONSE_SECONDS):  # noqa: S310
        pass
    print(json.dumps(response))  # the log
    return response


def _update_database(until: Deadline) -> list[str]:
    """Apply the missing migrations, and update the roles.

    Errors that may pass are retried until the deadline: a first deployment starts only seconds after what it needs. A
    wrong password or name cannot be told from one that does not work yet.

    Raises:
        psycopg.Error: the database or a secret cannot be reached in time, or refuses.

    """
    settings = DatabaseSettings.from_environment(os.environ)
    applied: list[str] = []
    while True:
        try:
            applied += migrate(settings, _secrets)
            update_roles(settings, os.environ, _secrets)
        except psycopg.OperationalError as exc:
            if not until.remaining():
                raise
            print(json.dumps({"waiting": _reason(exc)}))
            time.sleep(min(_PAUSE_SECONDS, until.remaining()))
        else:
            return applied


def _secrets() -> Any:
    """Return a client of Secrets Manager that gives up soon: each attempt makes another."""
    return make_client(botocore.session.get_session(), "secretsmanager")


def _reason(exc: Exception) -> str:
    """Return what PostgreSQL says, but neither its detail, which quotes rows, nor a URL that it cannot read."""
    if isinstance(exc, psycopg.ProgrammingError) and not exc.sqlstate:
        return "DATABASE_URL is not a libpq URL"
    if isinstance(exc, psycopg.Error) and exc.diag.message_primary:
        return f"{exc.sqlstate}: {exc.diag.message_primary}"[:_MAX_REASON]
    return f"{type(exc).__name__}: {exc}"[:_MAX_REASON]
