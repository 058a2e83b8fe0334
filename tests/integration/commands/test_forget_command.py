"""The questions, refusals and reports of the command `forget`."""

import json

import pytest

from event_service.forget import erasure as module
from event_service.forget.__main__ import main
from tests.integration.commands.personal_data import SECRET, of_user
from tests.support.aws import Aws
from tests.support.event_items import readable_texts as stored
from tests.support.messages import Json
from tests.support.tables import printed_rows as rows


def test_without_confirmation_nothing_happens(
    aws: Aws, url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither on another answer nor on none; a dry run only counts."""
    before = rows(url), stored(aws)
    for answer in ("user-b", ""):
        monkeypatch.setattr("builtins.input", lambda _, answer=answer: answer)
        assert main(["--user", "user-a"]) == 2
    assert "not confirmed" in capsys.readouterr().err
    assert main(["--user", "user-a", "--dry-run"]) == 0
    assert "would be erased: 8 of 8 events, 7 of 7 facts, 5 of 5 notifications" in capsys.readouterr().out
    assert (rows(url), stored(aws)) == before
    monkeypatch.setattr("builtins.input", lambda _: "user-a")
    assert main(["--user", "user-a"]) == 0


def test_forget_reports_what_is_left(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Data that was not erased is found by reading it back, and fails the command."""
    monkeypatch.setattr(module, "_erase_rows", lambda task: task.personal.update(notifications=not task.writes))
    assert main(["--user", "user-a", "--yes"]) == 1
    assert "left: " in capsys.readouterr().out


@pytest.mark.parametrize(
    "data",
    [
        {"eventDataEncoding": {"S": "gzip"}, "eventData": {"B": b"\x1f\x8b damaged"}, "eventType": {"S": "todo:done"}},
        {"eventData": {"S": "[" * 100_000}},
        {"eventData": {"S": "{"}, "eventType": {"N": "5"}},
        {},
    ],
)
def test_what_cannot_be_read_is_named_and_no_obstacle(
    data: Json, aws: Aws, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """All else is erased; the key of what is left is printed, and the command fails."""
    damaged: dict[str, Json] = {name: {"S": name} for name in ("pk", "sk")} | {"userId": {"S": "user-a"}} | data
    aws.dynamodb.put_item(TableName=aws.table, Item=damaged)
    assert main(["--user", "user-a", "--dry-run"]) == 0
    capsys.readouterr()
    assert main(["--user", "user-a", "--yes"]) == 1
    output = capsys.readouterr()
    assert output.err == "forget: eventData cannot be read: pk sk\n"
    assert "left: 0 of 8 events, 0 of 7 facts, 0 of 5 notifications, 1 of 1 unreadable events" in output.out
    aws.dynamodb.delete_item(TableName=aws.table, Key={name: damaged[name] for name in ("pk", "sk")})
    assert SECRET not in json.dumps([*of_user(stored(aws), "user-a").values()])


@pytest.mark.parametrize("variable", ["EVENT_STORE_TABLE", "DATABASE_URL"])
def test_what_is_missing_is_named(
    variable: str,
    service_environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One line, and exit status 2."""
    monkeypatch.delenv(variable)
    assert main(["--user", "user-a", "--yes"]) == 2
    assert variable in capsys.readouterr().err


@pytest.mark.parametrize("user", ["", "x" * 257, "\udce4"])
def test_an_invalid_user_id_is_refused(
    user: str, service_environment: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is asked or read."""
    assert main(["--user", user]) == 2
    assert capsys.readouterr().err.startswith("forget: --user is not a userId: ")
