"""A rebuild that cannot run says why in one line."""

from typing import Any

import psycopg
import pytest
from botocore.exceptions import ClientError
from urllib3.exceptions import ProtocolError

from event_service.adapters.data_plane import DynamoDb
from event_service.rebuild import segment
from event_service.rebuild.__main__ import main
from local.stack import Stack, create_database
from tests.support.aws import Aws


def test_a_scan_that_is_refused_is_given_up(
    aws: Aws, service_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A failure that another attempt cannot fix is reported at once."""

    def refused(client: DynamoDb, **request: Any) -> Any:
        raise ClientError({"Error": {"Code": "AccessDeniedException"}}, "Scan")

    monkeypatch.setattr(DynamoDb, "scan", refused)
    assert main(["--workers", "1"]) == 2
    assert "rebuild: Scan: AccessDeniedException" in capsys.readouterr().err


def test_an_event_store_that_does_not_answer_is_given_up_in_the_end(
    aws: Aws, service_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """After attempts for a minute, with the reason instead of a traceback."""

    def unanswered(client: DynamoDb, **request: Any) -> Any:
        raise ProtocolError("Connection aborted.")

    monkeypatch.setattr(DynamoDb, "scan", unanswered)
    monkeypatch.setattr(segment, "_ATTEMPTS", 2)
    assert main(["--workers", "1"]) == 2
    assert capsys.readouterr().err.endswith("rebuild: Connection aborted.\n")


def test_two_rebuilds_at_once_are_refused(
    service_environment: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """The second one says why, and does nothing."""
    with psycopg.connect(service_environment["DATABASE_URL"]) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", (0x65767472,))
        assert main(["--workers", "1"]) == 2
    assert capsys.readouterr().err == "rebuild: another rebuild or erasure is running\n"


@pytest.mark.parametrize(
    ("variable", "value", "reason"),
    [
        ("EVENT_STORE_TABLE", "", "EVENT_STORE_TABLE is not set"),
        ("DATABASE_URL", "", "DATABASE_SECRET_ARN is not set, and neither is DATABASE_URL"),
        ("DATABASE_URL", "nonsense://user:hunter2@", "DATABASE_URL is not a libpq URL"),
        ("EVENT_STORE_TABLE", "no-such-table", "DescribeTable: ResourceNotFoundException"),
    ],
)
def test_what_is_missing_is_said_in_one_line(
    variable: str,
    value: str,
    reason: str,
    service_environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It names the variable, without the password, and exits with status 2."""
    monkeypatch.setenv(variable, value)
    assert main(["--workers", "1"]) == 2
    errors = capsys.readouterr().err
    assert reason in errors
    assert errors.count("\n") == 1
    assert "hunter2" not in errors


def test_a_database_without_the_migrations_is_named(
    stack: Stack,
    service_environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The hint says what to run."""
    monkeypatch.setenv("DATABASE_URL", create_database(stack, "unmigrated"))
    assert main(["--workers", "1"]) == 2
    assert "python -m event_service.migrate" in capsys.readouterr().err
