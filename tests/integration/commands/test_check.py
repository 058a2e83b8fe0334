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
from event_service.check.__main__ import main
from event_service.check.shapes import records_in
from event_service.steps.parse import parse
from tests.support.messages import CREATED, cloud_event, legacy, native, raw, wrapped
from tests.support.samples import CASES, FOLDER, RECORDS, message

ROOT = Path(__file__).parents[3]


def received(record: Any) -> Any:
    """Return a record as SQS's API returns the message."""
    attributes = record["messageAttributes"].items()
    return {
        "MessageId": record["messageId"],
        "ReceiptHandle": "receipt",
        "Body": record["body"],
        "Attributes": record["attributes"],
        "MessageAttributes": {
            name: {"StringValue": value["stringValue"], "DataType": "String"} for name, value in attributes
        },
    }


def check(tmp_path: Path, text: str, *options: str) -> int:
    (tmp_path / "message.json").write_text(text)
    return main([str(tmp_path / "message.json"), *options])


@pytest.mark.parametrize("name", sorted(CASES))
def test_a_sample_is_judged_as_the_function_judges_it(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Every record of a Lambda event is listed, with the reason and field that the function logs."""
    expected = {place: why for place, why in CASES[name].failures.items() if why[0] != "conflict"}
    assert main([str(FOLDER / f"{name}.json")]) == bool(expected)
    lines = capsys.readouterr().out.splitlines()
    rejected = [line for line in lines if ": ok: " not in line]
    assert len(lines) - len(rejected) == len(RECORDS[name]) - len(expected)
    for (place, (reason, field)), line in zip(expected.items(), rejected, strict=True):
        assert f": record {place + 1}: {reason}: {field}" in line


SHAPES = {
    "body": native(),
    "notification": json.loads(wrapped(legacy(), CREATED)["body"]),
    "record": wrapped(legacy(), CREATED),
    "lambda event": {"Records": [raw(legacy(), CREATED)]},
    "lambda event of SNS": {
        "Records": [{"EventSource": "aws:sns", "Sns": json.loads(wrapped(legacy(), CREATED)["body"])}]
    },
    "received, wrapped": {"Messages": [received(wrapped(legacy(), CREATED))]},
    "received, raw": {"Messages": [received(raw(legacy(), CREATED))]},
    "received, without attributes": {"Messages": [{**received(wrapped(legacy(), CREATED)), "Attributes": None}]},
    "received message": received(raw(legacy(), CREATED)),
    "array of received messages": [received(raw(legacy(), CREATED))],
    "recorded message": [{"case": "a name", "message": received(raw(legacy(), CREATED))}],
    "array of bodies": [native()],
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("indent", [None, 2])
def test_a_message_may_have_any_shape(
    shape: str, indent: int | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The shapes in which SNS, SQS, Lambda and the AWS CLI show it, with or without a byte order mark."""
    text = json.dumps(SHAPES[shape], indent=indent)
    for mark in ("", "\ufeff"):
        assert check(tmp_path, mark + text) == 0
        assert "message.json: ok: reminder:" in capsys.readouterr().out


@pytest.mark.parametrize("shape", SHAPES)
def test_a_rejection_is_found_in_any_shape(shape: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The record in the shape is what is checked."""
    text = json.dumps(SHAPES[shape]).replace("2027-01-01T08:00:00.000Z", "tomorrow")
    assert check(tmp_path, text) == 1
    assert ": invalid_field: eventData.date: " in capsys.readouterr().out


def test_ndjson_is_checked_line_by_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each line may have another shape; blank lines are skipped; a broken line does not hide the others."""
    lines = [json.dumps(native()), "", json.dumps(SHAPES["notification"]), '{"broken', json.dumps([native(), legacy()])]
    assert check(tmp_path, "\ufeff" + "\r\n".join(lines) + "\r\n") == 1
    places = [line.partition("message.json: ")[2] for line in capsys.readouterr().out.splitlines()]
    assert [place.split(": ok")[0].split(": not_json")[0].split(": invalid")[0] for place in places] == [
        "line 1", "line 3", "line 4", "line 5: record 1", "line 5: record 2",
    ]  # fmt: skip
    path = tmp_path / "messages.ndjson"
    path.write_text('{"broken\n' + json.dumps(native()))
    assert main([str(path)]) == 1
    assert [line.partition(".ndjson: ")[2][:11] for line in capsys.readouterr().out.splitlines()] == [
        "line 1: not", "line 2: ok:",
    ]  # fmt: skip


def test_the_elements_of_an_array_are_checked_to_the_last_digit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A number that only looks infinite to a JSON parser is one that jsonb cannot hold."""
    text = json.dumps([native(), native(eventData={"date": "2027-01-01T08:00:00Z", "n": "HUGE"})])
    assert check(tmp_path, text.replace('"HUGE"', "1e999999")) == 1
    assert "record 2: number_out_of_range: eventData.n: " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("event_type", "nearest"),
    [("reminder:creatd", "reminder:created"), ("reminders:deleted", "reminder:deleted"), ("notification:creat", None)],
)
def test_a_misspelt_known_type_is_a_warning(
    event_type: str, nearest: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The function would store the event and nothing else, which a producer may notice late."""
    assert check(tmp_path, json.dumps(native(eventType=event_type))) == 0
    ok, warning = capsys.readouterr().out.splitlines()
    assert ok.endswith(f": ok: {event_type}, stored only")
    assert f": warning: {event_type} is not a known type; did you mean {nearest or 'notification:create'}?" in warning


@pytest.mark.parametrize(
    "event_type", ["invoice:issued", "reminder:completed", "reminder:seen", "notification:created"]
)
def test_another_type_is_not_a_misspelling(event_type: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Producers may send events of any type."""
    assert check(tmp_path, json.dumps(native(eventType=event_type))) == 0
    assert capsys.readouterr().out.endswith(f": ok: {event_type}, stored only\n")


@pytest.mark.parametrize(
    ("event_type", "hint"),
    [("reminder:creatd", "; did you mean reminder:created?"), ("reminder:done", "; did you mean"), ("xyz:q", "")],
)
def test_an_unknown_type_fails_a_strict_check(
    event_type: str, hint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The nearest known type is named if there is one; known types and facts pass."""
    assert check(tmp_path, json.dumps(native(eventType=event_type)), "--strict") == 1
    output = capsys.readouterr().out
    assert f": unknown_type: {event_type} is not a known type{hint}" in output
    assert hint or output.endswith("is not a known type\n")
    for known in ("reminder:created", "notification:delete", "notification:created"):
        assert check(tmp_path, json.dumps(native(eventType=known)), "--strict") == 0


@pytest.mark.parametrize("example", [e for t in event_types() if t["direction"] == "in" for e in t["examples"]])
def test_the_examples_of_the_catalogue_pass(example: Any, tmp_path: Path) -> None:
    """Including legacy ones, whose type is an option."""
    headers = example["headers"]
    options = ["--event-type", headers["eventType"], "--item-type", headers["eventItemType"]] if headers else []
    assert check(tmp_path, json.dumps(example["payload"]), *options) == 0


def test_a_legacy_event_needs_its_type(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The attributes are options; without them it is rejected, as by the function."""
    text = message(RECORDS["reminder-created"][0])
    assert check(tmp_path, text) == 1
    assert "invalid_field: eventType: Field required" in capsys.readouterr().out
    assert check(tmp_path, text, "--event-type", "reminder:created", "--item-type", "todo") == 1
    assert "itemType: does not agree" in capsys.readouterr().out


def test_every_problem_is_named_with_its_path(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Not only the first, and without values."""
    event = cloud_event(time="yesterday", data={"userId": "", "userEmail": 7, "eventData": []})
    assert check(tmp_path, json.dumps(event)) == 1
    lines = capsys.readouterr().out.splitlines()
    paths = [line.split("invalid_field: ")[1].partition(":")[0] for line in lines]
    assert paths == ["time", "data.userId", "data.userEmail", "data.eventData"]
    assert "yesterday" not in "".join(lines)


@pytest.mark.parametrize("event", [native, cloud_event])
def test_the_data_of_a_known_type_is_checked_even_if_other_fields_are_wrong(
    event: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The function stops at the first problem; a producer wants to see all of them."""
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


def test_a_closed_output_pipe_ends_the_command_with_sigpipe() -> None:
    """As for any shell command, with status 141."""
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
    """It does not crash the command."""
    assert check(tmp_path, text) == 1


def test_files_are_checked_one_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The exit status is the worst of theirs; standard input is one of the files."""
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(json.dumps(native()).encode())))
    good = str(FOLDER / "native.json")
    assert main([good, "-"]) == 0
    assert main([good, str(FOLDER / "one-good-several-bad.json")]) == 1
    assert main([str(FOLDER / "one-good-several-bad.json"), str(tmp_path / "missing.json"), good]) == 2


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'{"userId": "\xe9"}', "is not UTF-8 text"),
        ("{}".encode("utf-16"), "is UTF-16 text; save it as UTF-8"),
        (None, "No such file or directory"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_with_the_reason(
    content: bytes | None, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its exit status differs from that of a rejection."""
    file = tmp_path / "odd.json"
    if content is not None:
        file.write_bytes(content)
    assert main([str(file)]) == 2
    assert capsys.readouterr().err == f"{file}: {reason}\n"
    assert main([str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"{tmp_path}: Is a directory\n"


def test_it_needs_neither_aws_nor_a_database() -> None:
    """It runs with an empty environment, and without the packages of either."""
    program = (
        "import sys\n"
        "sys.modules |= dict.fromkeys(('aws_lambda_powertools', 'boto3', 'botocore', 'psycopg', 'urllib3'))\n"
        "from event_service.check.__main__ import main; sys.exit(main(['events/native.json']))"
    )
    command = [sys.executable, "-c", program]
    run = subprocess.run(
        command, env={"PATH": os.environ["PATH"]}, cwd=ROOT, capture_output=True, check=False, text=True
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout == "events/native.json: ok: reminder:created, creates or replaces a notification\n"


def test_a_bare_message_is_parsed_as_sent_raw() -> None:
    """The function would read the same event from a raw delivery."""
    body = json.dumps(native())
    ((_, record),) = records_in(body, {})
    assert parse(record).event == parse(raw(body, None)).event


@pytest.mark.parametrize("member", [{"body": "a text"}, {"Records": []}])
def test_an_event_with_fields_named_like_an_envelopes_is_still_an_event(member: dict[str, Any], tmp_path: Path) -> None:
    """Unknown fields are accepted, whatever their names."""
    assert check(tmp_path, json.dumps(native(**member))) == 0
    assert check(tmp_path, json.dumps(cloud_event(**member))) == 0


def test_a_message_larger_than_the_sqs_limit_is_rejected(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One byte less is accepted; the event store would compress both."""
    body = json.dumps(native(eventType="todo:done"))
    fits = body[:-1] + " " * (1024 * 1024 - len(body)) + "}"
    assert check(tmp_path, fits) == 0
    assert check(tmp_path, fits[:-1] + " }") == 1
    assert "too_large: body: has 1,048,577 bytes; SQS accepts at most 1,048,576" in capsys.readouterr().out


@pytest.mark.parametrize("text", ['{"Records": []}', '{"Messages": []}'])
def test_a_file_without_records_is_not_a_success(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing was checked."""
    assert check(tmp_path, text) == 2
    assert capsys.readouterr().err.endswith("message.json: contains no records\n")
