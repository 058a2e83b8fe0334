"""The operations function, invoked directly: what it refuses, says, logs, and does about its time."""

import io
import json
import sys
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from event_service.operations import handler
from event_service.operations.handler import lambda_handler
from tests.support.aws import Aws
from tests.support.histories import deliver, record
from tests.support.tables import count_notifications, execute, lose_rows

PATIENT = SimpleNamespace(get_remaining_time_in_millis=lambda: 60_000)


def run(*command: str, seconds: float | None = None, context: Any = PATIENT) -> dict[str, Any]:
    event = {"command": [*command]} | ({} if seconds is None else {"seconds": seconds})
    answer = lambda_handler(event, context)
    assert json.loads(json.dumps(answer)) == answer
    return answer


@pytest.mark.parametrize(
    ("command", "status", "text"),
    [
        (["rebuild", "--help"], 0, "usage: python -m event_service.rebuild"),
        (["forget", "--help"], 0, "usage: python -m event_service.forget"),
        (["migrate", "--help"], 0, "usage: python -m event_service.migrate"),
        (["rebuild", "--nothing"], 2, "unrecognized arguments: --nothing"),
        (["rebuild", "--stack=another"], 2, "--stack is for the machine that invokes this function"),
        (["forget", "--user=user-a"], 2, "not confirmed; nothing was changed"),
        (["dead_letters", "list"], 2, "`command` is none of forget, migrate, rebuild"),
        ([], 2, "`command` is none of forget, migrate, rebuild"),
    ],
)
def test_help_and_refusals_change_nothing(
    command: Sequence[str],
    status: int,
    text: str,
    service_environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They are answered like the command's output, with its exit status."""
    url = service_environment["DATABASE_URL"]
    deliver([record("reminder:created", "user-a", "item", 1)])
    lose_rows(url)
    monkeypatch.setattr(sys, "stdin", io.StringIO())  # as empty as Lambda's
    answer = run(*command)
    assert (answer["status"], answer["done"]) == (status, True)
    assert text in answer["output" if status == 0 else "errors"]
    assert count_notifications(url) == 0


def test_a_command_stops_before_its_invocation_ends_and_is_resumed(
    service_environment: dict[str, str],
) -> None:
    """Both by the time that is left and by the one that the caller gives; there are more segments than fit into it."""
    url = service_environment["DATABASE_URL"]
    deliver([record("reminder:created", "user-a", "item", 1)])
    lose_rows(url)
    hurried = SimpleNamespace(get_remaining_time_in_millis=lambda: 100)
    rebuilding = run("rebuild", "--segments=100", context=hurried)
    for answer in (rebuilding, run("forget", "--user=user-a", "--yes", seconds=0)):
        assert (answer["status"], answer["done"]) == (75, False)
    assert execute(url, "SELECT bool_and(done) FROM rebuild_progress WHERE phase = 'events'") == [(False,)]
    assert (run("rebuild")["status"], count_notifications(url)) == (0, 1)
    assert run("forget", "--user=user-a", "--yes")["status"] == 0


def test_the_log_names_the_command_but_no_person(
    aws: Aws, service_environment: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """The answer has what the command printed; neither it nor the arguments are logged."""
    deliver([record("reminder:created", "user-a", "item", 1)])
    assert "user-a: erased: 1 of 1 events" in run("forget", "--user=user-a", "--yes")["output"]
    output = capsys.readouterr()
    assert output.err == ""
    assert json.loads(output.out).keys() == {"command", "status", "seconds"}


def test_an_unreachable_database_is_the_commands_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the reason in one line; the function itself does not fail."""
    monkeypatch.setenv("DATABASE_URL", "postgresql://u@127.0.0.1:1/d")
    answer = run("migrate", "--check")
    assert (answer["status"], answer["done"]) == (2, True)
    assert answer["errors"].startswith("migrate: PostgreSQL: OperationalError: ")


def test_the_middle_of_too_long_an_output_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A response is limited: what was found, and how it ended, is kept."""
    monkeypatch.setattr(handler, "_MAX_CHARACTERS", 200)
    output = run("rebuild", "--help")["output"]
    assert output.startswith("usage: ")
    assert " characters were left out …" in output
    assert len(output) < 300
