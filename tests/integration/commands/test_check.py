"""The command that producers check their messages with."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from event_service.catalogue.document import event_types
from event_service.check.__main__ import main, records_of
from event_service.pipeline import parse
from tests.support.messages import CREATED, cloud_event, legacy, native, raw, wrapped
from tests.support.samples import CASES, FOLDER, RECORDS, message

ROOT = Path(__file__).parents[3]


def check(tmp_path: Path, text: str, *options: str) -> int:
    (tmp_path / "message.json").write_text(text)
    return main([str(tmp_path / "message.json"), *options])


@pytest.mark.parametrize("name", sorted(CASES))
def test_a_sample_is_judged_as_the_function_judges_it(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a Lambda event every record is named, with the reason and field the function logs."""
    expected = {place: why for place, why in CASES[name].failures.items() if why[0] != "conflict"}
    assert main([str(FOLDER / f"{name}.json")]) == bool(expected)
    lines = capsys.readouterr().out.splitlines()
    rejected = [line for line in lines if ": ok: " not in line]
    assert len(lines) - len(rejected) == len(RECORDS[name]) - len(expected)
    for (place, (reason, field)), line in zip(expected.items(), rejected, strict=True):
        assert f": record {place + 1}: {reason}: {field}" in line


@pytest.mark.parametrize("shape", ["body", "notification", "record"])
def test_a_message_may_come_in_any_of_its_shapes(shape: str, tmp_path: Path) -> None:
    """Bare, in its SNS notification, or as an SQS record."""
    record = wrapped(legacy(), CREATED)
    text = {"body": json.dumps(native()), "notification": record["body"], "record": json.dumps(record)}[shape]
    assert check(tmp_path, text) == 0


@pytest.mark.parametrize("example", [e for t in event_types() if t["direction"] == "in" for e in t["examples"]])
def test_the_examples_of_the_catalogue_pass(example: Any, tmp_path: Path) -> None:
    """Also the legacy ones, whose type is an option."""
    headers = example["headers"]
    options = ["--event-type", headers["eventType"], "--item-type", headers["eventItemType"]] if headers else []
    assert check(tmp_path, json.dumps(example["payload"]), *options) == 0


def test_a_legacy_event_needs_its_type(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its attributes are options, and without them it is rejected as the function would reject it."""
    text = message(RECORDS["reminder-created"][0])
    assert check(tmp_path, text) == 1
    assert "invalid_field: eventType: Field required" in capsys.readouterr().out
    assert check(tmp_path, text, "--event-type", "reminder:created", "--item-type", "todo") == 1
    assert "itemType: does not agree" in capsys.readouterr().out


def test_every_problem_is_named_with_its_path(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Not only the first; and no value is printed."""
    event = cloud_event(time="yesterday", data={"userId": "", "userEmail": 7, "eventData": []})
    assert check(tmp_path, json.dumps(event)) == 1
    lines = capsys.readouterr().out.splitlines()
    paths = [line.split("invalid_field: ")[1].partition(":")[0] for line in lines]
    assert paths == ["time", "data.userId", "data.userEmail", "data.eventData"]
    assert "yesterday" not in "".join(lines)


@pytest.mark.parametrize("event", [native, cloud_event])
def test_the_data_of_a_known_type_is_checked_whatever_is_wrong_beside_it(
    event: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The function stops at the first of a kind; a producer sees all of them at once."""
    message = event(id="", eventData={"n": [1, "HUGE"]})
    if event is cloud_event:
        message["data"]["eventData"] = message.pop("eventData")
    assert check(tmp_path, json.dumps(message).replace('"HUGE"', "1e999999")) == 1
    lines = [line.partition(": ")[2] for line in capsys.readouterr().out.splitlines()]
    assert [line.rpartition(": ")[0] for line in lines] == [
        "invalid_field: id",
        "invalid_field: eventData.date",
        "number_out_of_range: eventData.n[1]",
    ]


def test_a_closed_output_pipe_ends_the_command_without_a_verdict() -> None:
    """As with any command of the shell: SIGPIPE."""
    command = [sys.executable, "-m", "event_service.check", *["events/one-good-several-bad.json"] * 500]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.readline()
        process.stdout.close()
        assert (process.stderr.read(), process.wait()) == (b"", 141)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "{" * 9999, '{"Records": [1]}', '{"body": 1}', "\ufeff{}", '{"a": NaN}']
)
def test_nonsense_is_rejected(text: str, tmp_path: Path) -> None:
    """Whatever it is, it is a rejection and no crash."""
    assert check(tmp_path, text) == 1


def test_files_are_checked_one_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worst of them is the exit status; standard input is one of them."""
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(json.dumps(native()).encode())))
    good = str(FOLDER / "native.json")
    assert main([good, "-"]) == 0
    assert main([good, str(FOLDER / "one-good-several-bad.json")]) == 1
    assert main([str(FOLDER / "one-good-several-bad.json"), str(tmp_path / "missing.json"), good]) == 2
    (tmp_path / "latin.json").write_bytes(b'{"userId": "\xe9"}')
    assert main([str(tmp_path / "latin.json")]) == 2


def test_it_needs_neither_aws_nor_a_database() -> None:
    """It runs with an empty environment."""
    command = [sys.executable, "-m", "event_service.check", "events/native.json"]
    run = subprocess.run(
        command, env={"PATH": os.environ["PATH"]}, cwd=ROOT, capture_output=True, check=False, text=True
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout == "events/native.json: ok: reminder:created, creates or replaces a notification\n"


def test_a_bare_message_is_parsed_as_sent_raw() -> None:
    """The function would read the same event out of a raw delivery."""
    body = json.dumps(native())
    (record,) = records_of(body, {})
    assert parse(record).event == parse(raw(body)).event


@pytest.mark.parametrize("member", [{"body": "a text"}, {"Records": []}])
def test_an_event_with_members_named_like_an_envelopes_is_an_event(member: dict[str, Any], tmp_path: Path) -> None:
    """Unknown fields are accepted, and these are names like any other."""
    assert check(tmp_path, json.dumps(native(**member))) == 0
    assert check(tmp_path, json.dumps(cloud_event(**member))) == 0


def test_a_message_larger_than_sqs_takes_is_rejected(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It would compress well enough for the event store, but never gets there; one byte less does."""
    body = json.dumps(native(eventType="todo:done"))
    fits = body[:-1] + " " * (1024 * 1024 - len(body)) + "}"
    assert check(tmp_path, fits) == 0
    assert check(tmp_path, fits[:-1] + " }") == 1
    assert "too_large: body: has 1,048,577 bytes; SQS takes 1,048,576" in capsys.readouterr().out


def test_a_lambda_event_without_records_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing was checked."""
    assert check(tmp_path, '{"Records": []}') == 2
    assert capsys.readouterr().err.endswith("message.json: Records is empty\n")
