"""Shared by the commands that use backends: options, patient clients, and the reasons of failures."""

import argparse
import logging
from collections.abc import Callable
from typing import Any, Final

import botocore.session
import psycopg
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from event_service import console
from event_service.adapters.aws import NO_RESPONSE
from event_service.adapters.event_items import UnreadableItem
from event_service.adapters.postgres_errors import describe
from event_service.config import ConfigurationError
from event_service.deadline import Deadline
from event_service.errors import CommandError, Unavailable

_NEW_CREDENTIALS_NEEDED: Final = (
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidClientTokenId",
    "UnrecognizedClientException",
)


def add_stack(parser: argparse.ArgumentParser) -> None:
    """Add the option that runs a command where the data is (`remote.drive`)."""
    parser.add_argument("--stack", metavar="NAME", help="run it in the operations function of this stack")


def add_seconds(parser: argparse.ArgumentParser) -> None:
    """Add the option that limits how long a command runs at a time (`deadline_of`)."""
    parser.add_argument("--seconds", type=_seconds, metavar="N", help="stop after about N seconds, with exit status 75")


def _seconds(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise argparse.ArgumentTypeError("is not a whole number of 0 or more")
    return int(text)


def deadline_of(options: argparse.Namespace) -> Deadline:
    """Return when a command must stop."""
    return Deadline.never() if options.seconds is None else Deadline.after(options.seconds)


def make_patient_client(service: str, read_seconds: float = 60, attempts: int = 10) -> Any:
    """Return an AWS client that waits and retries for minutes, because a command has no deadline.

    Raises:
        CommandError: the environment names an endpoint that is not a URL.
        botocore.exceptions.BotoCoreError: it names no region, or a profile that does not exist.

    """
    retries = {"mode": "standard", "total_max_attempts": attempts}
    config = Config(
        connect_timeout=5,
        read_timeout=read_seconds,
        retries=retries,  # type: ignore[arg-type]  # the stubs want their own dict
        parameter_validation=False,
        tcp_keepalive=True,
    )
    try:
        return botocore.session.get_session().create_client(service, config=config)
    except ValueError as exc:
        raise CommandError(str(exc)) from exc


def stack_output(stack: str, name: str) -> str:
    """Return the value of an output of a CloudFormation stack.

    Raises:
        CommandError: the region has no such stack, or the stack no such output.
        botocore.exceptions.BotoCoreError: credentials or region are missing, or AWS does not respond.
        botocore.exceptions.ClientError: AWS refuses.

    """
    client = make_patient_client("cloudformation")
    try:
        (found,) = client.describe_stacks(StackName=stack)["Stacks"]
    except ClientError as exc:
        if exc.response["Error"]["Code"] != "ValidationError":
            raise
        raise CommandError(f"there is no stack {stack} in {client.meta.region_name}") from exc
    outputs = {each["OutputKey"]: each["OutputValue"] for each in found.get("Outputs", [])}
    if name not in outputs:
        raise CommandError(f"the stack {stack} has no output {name}")
    return str(outputs[name])


def secrets_client() -> Any:
    """Return a client of Secrets Manager, which is not needed with `DATABASE_URL`."""
    return make_patient_client("secretsmanager")


def run(name: str, command: Callable[[], int]) -> int:
    """Run a command and return its exit status (`console.run`), with the reasons of backends."""
    # psycopg would warn of a statement that Ctrl-C leaves under way; the command itself says what to do.
    logging.getLogger("psycopg").setLevel(logging.ERROR)
    return console.run(name, command, reason_of)


def reason_of(exc: Exception) -> str | None:
    """Return why a command failed, as one line without any value of an event or a row; None for a bug."""
    if isinstance(exc, (ConfigurationError, CommandError, Unavailable, UnreadableItem, BotoCoreError, *NO_RESPONSE)):
        return str(exc)
    if isinstance(exc, ClientError):
        code = exc.response["Error"]["Code"]
        hint = ": renew your AWS credentials" if code in _NEW_CREDENTIALS_NEEDED else ""
        return f"{exc.operation_name}: {code}{hint}"
    if isinstance(exc, psycopg.Error):
        return f"PostgreSQL: {describe(exc)}"
    return None
