"""§10: `python -m event_service.dead_letters` against the embedded stack."""

import io
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from event_service.dead_letters import queue
from event_service.dead_letters.__main__ import main
from local.stack import Stack
from tests.support.dead_letters import Letters, make_letters
from tests.support.messages import CREATED, NOTE, REMINDER, Record, cloud_event, legacy, native, raw, text, wrapped
from tests.support.sampling import FULL, examples, sample
from tests.support.world import World

MALFORMED = '{"userId": "user-a", "itemId": '
_HIDDEN_SECONDS = 4
SENT_AT = "2026-11-23T07:08:09.123000Z"
SENT_AT_MILLISECONDS = "1795417689123"
REJECTED = {
    "reason": "not_json",
    "field": None,
    "error": "body: is not a JSON object",
    "messageId": "11111111-1111-1111-1111-111111111111",
    "sentAt": SENT_AT,
    "rejectedAt": "2026-11-23T07:08:10.000000Z",
}


@pytest.fixture
def letters(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Letters:
    made = make_letters(stack)
    for name, value in made.environment().items():
        monkeypatch.setenv(name, value)
    return made


def listed(capsys: pytest.CaptureFixture[str]) -> list[Any]:
    capsys.readouterr()
    assert main(["list", "--json"]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def lambda_record(message: Any) -> Record:
    """The record that Lambda makes of a message."""
    attributes = {
        name: {"stringValue": value["StringValue"], "dataType": value["DataType"]}
        for name, value in message.get("MessageAttributes", {}).items()
    }
    return {
        "messageId": message["MessageId"],
        "body": message["Body"],
        "attributes": message["Attributes"],
        "messageAttributes": attributes,
    }


def test_the_list_groups_by_reason_and_type(letters: Letters, capsys: pytest.CaptureFixture[str]) -> None:
    """With the number of letters, how many would pass and the oldest; nothing is taken from the queue."""
    letters.put(*[raw(MALFORMED, REMINDER)] * 3, rejection=REJECTED)
    letters.put(raw(native(), CREATED), raw(native(id="2"), CREATED))
    assert main(["list"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[1] == ["not_json", "reminder:created", "3", "0", SENT_AT]
    assert lines[2][:4] == ["none", "reminder:created", "2", "2"]
    assert lines[3] == ["5", "dead", "letters"]
    assert letters.count(letters.queue_url) == (5, 0)


def test_an_empty_queue_has_no_dead_letters(letters: Letters, capsys: pytest.CaptureFixture[str]) -> None:
    """And the command says so."""
    assert main(["list"]) == 0
    assert capsys.readouterr().out == "no dead letters\n"


def test_a_listed_letter_has_what_the_contract_names(letters: Letters, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a rejected record the rejection's values, of another its own."""
    letters.put(wrapped(MALFORMED, REMINDER), rejection=REJECTED)
    (queue_id,) = letters.put(wrapped(legacy(), REMINDER))
    rejected, failed = sorted(listed(capsys), key=lambda letter: letter["reason"] is None)
    assert rejected == {
        "messageId": REJECTED["messageId"],
        "reason": "not_json",
        "field": None,
        "error": REJECTED["error"],
        "eventType": "reminder:created",
        "itemId": None,
        "sentAt": SENT_AT,
        "receiveCount": 1,
        "wouldPass": False,
    }
    assert (failed["messageId"], failed["reason"], failed["itemId"]) == (queue_id, None, "item-1")
    assert failed["wouldPass"] is True
    assert failed["sentAt"][:10] == datetime.now(UTC).date().isoformat()


@pytest.mark.parametrize(
    ("record", "would_pass"),
    [
        (raw(legacy(), REMINDER), True),
        (wrapped(legacy(), REMINDER), True),
        (raw(cloud_event()), True),
        (raw(text(legacy(userId="")), REMINDER), False),
        (raw(legacy()), False),
        (wrapped("[" * 70 + "]" * 70), False),
        (raw("\ufeff[]"), False),
        (raw('{"Type": "Notification", "Message": 5, "MessageAttributes": 7}'), False),
        (raw('{"eventType": ["x"], "itemId": 5}'), False),
    ],
    ids=lambda value: None if isinstance(value, bool) else value["body"][:30],
)
def test_would_pass_is_what_the_function_says(
    letters: Letters, world: World, capsys: pytest.CaptureFixture[str], record: Record, would_pass: bool
) -> None:
    """The list agrees with the function, for letters of any shape."""
    letters.put(record)
    (letter,) = listed(capsys)
    assert letter["wouldPass"] is would_pass
    (message,) = letters.received()
    assert (world.invoke([lambda_record(message)]).failed == set()) is would_pass


def test_a_conflict_would_not_pass(letters: Letters, capsys: pytest.CaptureFixture[str]) -> None:
    """The record is valid, but the stored event never changes."""
    letters.put(raw(native()), rejection=REJECTED | {"reason": "conflict"})
    assert [letter["wouldPass"] for letter in listed(capsys)] == [False]


def test_a_rejection_that_is_not_ours_is_ignored(letters: Letters, capsys: pytest.CaptureFixture[str]) -> None:
    """Another program may have put anything into the attribute."""
    for value in ("[]", "?", '{"reason": 5, "sentAt": "soon", "messageId": {}}'):
        letters.put(raw(native(), {"rejection": value}))
    assert [letter["reason"] for letter in listed(capsys)] == [None] * 3


def test_a_letter_is_shown_by_either_of_its_ids(letters: Letters, capsys: pytest.CaptureFixture[str]) -> None:
    """With its body and attributes, and why it would be rejected now."""
    (queue_id,) = letters.put(raw(text(legacy(userId="")), REMINDER), rejection=REJECTED)
    letters.put(*[raw("other")] * 30)
    for message_id in (queue_id, REJECTED["messageId"]):
        capsys.readouterr()
        assert main(["show", str(message_id)]) == 0
        shown = json.loads(capsys.readouterr().out)
        assert shown["message"]["Body"] == text(legacy(userId=""))
        assert shown["message"]["MessageAttributes"]["eventType"]["StringValue"] == CREATED
        assert shown["problem"].startswith("invalid_field: userId")
    assert main(["show", "nobody"]) == 1
    assert letters.count(letters.queue_url) == (31, 0)


def test_a_redriven_message_is_as_it_was_received(letters: Letters) -> None:
    """Only the rejection is gone and the time of first sending added: the event keeps its identity."""
    letters.put(raw(legacy(), REMINDER), rejection=REJECTED)
    assert main(["redrive", "--all", "--yes"]) == 0
    (message,) = letters.received(letters.event_queue_url)
    assert message["Body"] == text(legacy())
    found = {name: value["StringValue"] for name, value in message["MessageAttributes"].items()}
    assert found == REMINDER | {"firstSentAt": SENT_AT_MILLISECONDS}
    assert letters.count(letters.queue_url) == (0, 0)


def test_the_time_of_first_sending_survives_further_redrives(letters: Letters) -> None:
    """An existing attribute is kept."""
    letters.put(raw(legacy(), REMINDER | {"firstSentAt": "1700000000000"}), rejection=REJECTED)
    assert main(["redrive", "--all", "--yes"]) == 0
    (message,) = letters.received(letters.event_queue_url)
    assert message["MessageAttributes"]["firstSentAt"]["StringValue"] == "1700000000000"


def test_a_redriven_event_has_the_id_and_time_of_its_first_delivery(letters: Letters, world: World) -> None:
    """A raw event without its own: the one stored before the outage is recognised."""
    letters.put(raw(legacy(eventData={}), NOTE))
    (message,) = letters.received()
    world.accept(lambda_record(message))
    time.sleep(0.01)
    assert main(["redrive", "--all", "--yes"]) == 0
    (again,) = letters.received(letters.event_queue_url)
    assert again["Attributes"]["SentTimestamp"] != message["Attributes"]["SentTimestamp"]
    before = world.items()
    world.accept(lambda_record(again))
    assert world.items() == before


def _mixed(letters: Letters) -> None:
    letters.put(*[raw(MALFORMED, REMINDER)] * 30, rejection=REJECTED)
    conflict = REJECTED | {"reason": "conflict", "messageId": "22222222-2222-2222-2222-222222222222"}
    letters.put(*[raw(native(id=str(n)), CREATED) for n in range(10)], rejection=conflict)
    letters.put(*[raw(native(id=f"good-{n}", eventType="note:added"), NOTE) for n in range(5)])


@pytest.mark.parametrize(
    ("filters", "count"),
    [
        (["--reason", "not_json"], 30),
        (["--reason", "not_json", "--reason", "conflict"], 40),
        (["--reason", "none"], 5),
        (["--type", "reminder:created"], 40),
        (["--type", "reminder:created", "--reason", "none"], 0),
        (["--would-pass"], 5),
        (["--message", "22222222-2222-2222-2222-222222222222"], 10),
        (["--message", "nobody"], 0),
        (["--all"], 45),
    ],
)
def test_filters_choose_what_is_redriven(letters: Letters, filters: list[str], count: int) -> None:
    """The others stay, visible."""
    _mixed(letters)
    assert main(["redrive", *filters, "--yes"]) == 0
    assert letters.count(letters.queue_url) == (45 - count, 0)
    assert letters.count(letters.event_queue_url) == (count, 0)


def test_thirty_malformed_ten_conflicting_and_five_good_letters_are_sorted_out(
    letters: Letters, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The good ones go back, the others to a file."""
    _mixed(letters)
    assert main(["redrive", "--would-pass", "--yes"]) == 0
    file = tmp_path / "letters.ndjson"
    assert main(["discard", "--all", "--yes", "--to", str(file)]) == 0
    assert letters.count(letters.queue_url) == (0, 0)
    assert letters.count(letters.event_queue_url) == (5, 0)
    messages = [json.loads(line) for line in file.read_text().splitlines()]
    reasons = [json.loads(message["MessageAttributes"]["rejection"]["StringValue"])["reason"] for message in messages]
    assert sorted(reasons) == ["conflict"] * 10 + ["not_json"] * 30
    from event_service.check.__main__ import main as check

    assert check([str(file)]) == 1
    assert capsys.readouterr().out.count(": ok:") == 10


def test_discarded_messages_are_added_to_the_file(letters: Letters, tmp_path: Path) -> None:
    """An earlier discard into the same file is not overwritten."""
    file = tmp_path / "letters.ndjson"
    for _ in range(2):
        letters.put(raw(MALFORMED))
        assert main(["discard", "--all", "--yes", "--to", str(file)]) == 0
    assert len(file.read_text().splitlines()) == 2


def test_if_the_file_cannot_be_written_nothing_is_discarded(letters: Letters) -> None:
    """The command fails and the messages are visible again."""
    letters.put(*[raw(MALFORMED)] * 20)
    assert main(["discard", "--all", "--yes", "--to", "/dev/full"]) == 2
    assert letters.count(letters.queue_url) == (20, 0)


@pytest.mark.parametrize(("answer", "status", "left"), [("y\n", 0, 0), ("n\n", 1, 2), ("", 1, 2)])
def test_it_asks_before_it_acts(
    letters: Letters,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    answer: str,
    status: int,
    left: int,
) -> None:
    """And says what it is about to do."""
    letters.put(raw(MALFORMED), raw(MALFORMED))
    monkeypatch.setattr("sys.stdin", io.StringIO(answer))
    assert main(["redrive", "--all"]) == status
    assert "redrive these 2 messages?" in capsys.readouterr().err
    assert letters.count(letters.queue_url) == (left, 0)


@pytest.mark.parametrize("arguments", [["redrive"], ["discard", "--yes"], ["redrive", "--all", "--would-pass"], []])
def test_what_to_act_on_has_to_be_said(letters: Letters, arguments: list[str]) -> None:
    """No filter does not mean everything."""
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2


def test_messages_that_others_have_received_are_left_alone(
    letters: Letters, capsys: pytest.CaptureFixture[str]
) -> None:
    """They are neither listed nor moved, and stay with the consumer that holds them."""
    letters.put(*[raw(native(id=str(n))) for n in range(3)])
    theirs = letters.sqs.receive_message(QueueUrl=letters.queue_url, MaxNumberOfMessages=1, VisibilityTimeout=60)
    assert len(listed(capsys)) == 2
    assert main(["redrive", "--all", "--yes"]) == 0
    assert letters.count(letters.queue_url) == (0, 1)
    handle = theirs["Messages"][0]["ReceiptHandle"]
    letters.sqs.delete_message(QueueUrl=letters.queue_url, ReceiptHandle=handle)
    assert letters.count(letters.queue_url) == (0, 0)


def test_if_the_event_queue_refuses_nothing_is_deleted(letters: Letters, capsys: pytest.CaptureFixture[str]) -> None:
    """The reason is one line, and the messages are visible again."""
    letters.put(*[raw(native(id=str(n))) for n in range(20)])
    letters.sqs.delete_queue(QueueUrl=letters.event_queue_url)
    assert main(["redrive", "--all", "--yes"]) == 2
    assert "NonExistentQueue" in capsys.readouterr().err.replace("QueueDoesNotExist", "NonExistentQueue")
    assert letters.count(letters.queue_url) == (20, 0)


def test_a_message_without_room_for_the_time_stays(letters: Letters, capsys: pytest.CaptureFixture[str]) -> None:
    """SQS allows ten attributes; the other messages are redriven."""
    letters.put(raw(native(id="1")), raw(native(id="2"), {f"name-{n}": "x" for n in range(10)}))
    assert main(["redrive", "--all", "--yes"]) == 1
    assert "no room for another message attribute" in capsys.readouterr().err
    assert letters.count(letters.queue_url) == (1, 0)


def test_large_messages_are_redriven(letters: Letters) -> None:
    """A request takes 1 MiB in total."""
    for n in range(5):
        letters.put(raw(native(id=str(n), eventData={"x": "y" * 400_000}, eventType="note:added")))
    assert main(["redrive", "--all", "--yes"]) == 0
    assert letters.count(letters.event_queue_url) == (5, 0)


def test_a_missing_queue_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """By the variable that is not set."""
    monkeypatch.delenv("DEAD_LETTER_QUEUE_URL", raising=False)
    assert main(["list"]) == 2
    assert "DEAD_LETTER_QUEUE_URL is not set" in capsys.readouterr().err


def test_an_interrupted_command_makes_its_messages_visible_again(letters: Letters) -> None:
    """Ctrl-C ends it with the status of a shell."""
    for _ in range(100):
        entries = [{"Id": str(n), "MessageBody": MALFORMED} for n in range(10)]
        letters.sqs.send_message_batch(QueueUrl=letters.queue_url, Entries=entries)
    command = [sys.executable, "-m", "event_service.dead_letters", "list"]
    # Started in the background by a shell, the tests ignore the signal, and so would the command.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        signal.signal(signal.SIGINT, before)
        while letters.count(letters.queue_url)[1] < 50:
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate()
    assert (process.returncode, "interrupted" in errors) == (130, True)
    assert letters.count(letters.queue_url) == (1000, 0)


def _run_in_a_process(arguments: list[str], environment: dict[str, str]) -> None:
    os.environ.update(environment)
    queue._HIDDEN_SECONDS = _HIDDEN_SECONDS  # type: ignore[misc]
    main(arguments)


@pytest.mark.parametrize(("command", "killed_after"), sample([*product(("redrive", "discard"), (0.15, 0.4, 0.8))], 2))
def test_a_killed_command_loses_nothing(
    letters: Letters, stack: Stack, tmp_path: Path, command: str, killed_after: float
) -> None:
    """Each message is still in the queue, or was copied; the same command then finishes the work."""
    count = 600
    names = {f"event-{n}" for n in range(count)}
    for start in range(0, count, 10):
        entries = [
            {"Id": str(n), "MessageBody": text(native(id=f"event-{n}", eventType="note:added"))}
            for n in range(start, start + 10)
        ]
        letters.sqs.send_message_batch(QueueUrl=letters.queue_url, Entries=entries)
    file = tmp_path / "letters.ndjson"
    arguments = [command, "--all", "--yes"] + (["--to", str(file)] if command == "discard" else [])
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_run_in_a_process, args=(arguments, stack.environment() | letters.environment()))
    process.start()
    while process.is_alive() and sum(letters.count(letters.queue_url)) == count:
        time.sleep(0.01)  # until it deletes
    time.sleep(killed_after)
    process.kill()
    process.join()

    def copied() -> set[str]:
        bodies = (
            [message["Body"] for message in letters.received(letters.event_queue_url)]
            if command == "redrive"
            else [json.loads(line)["Body"] for line in file.read_text().split("\n") if _is_whole(line)]
        )
        return {json.loads(body)["id"] for body in bodies}

    visible, hidden = letters.count(letters.queue_url)
    assert len(copied()) + visible + hidden >= count
    time.sleep(_HIDDEN_SECONDS + 1)
    remaining = {json.loads(message["Body"])["id"] for message in letters.received()}
    assert copied() | remaining == names
    assert main(arguments) == 0
    assert copied() == names
    assert letters.count(letters.queue_url) == (0, 0)


def _is_whole(line: str) -> bool:
    """Whether the kill did not cut the line off; the message of one that it did was not deleted."""
    try:
        return bool(json.loads(line))
    except ValueError:
        return False


def test_ten_thousand_messages_are_redriven_in_under_two_minutes(letters: Letters) -> None:
    """The expected figure; the time is printed. A run that is not full has a fifth of them and no time limit."""
    count = examples(2_000, 10_000)
    body = text(native(eventType="note:added"))
    for _ in range(count // 10):
        entries = [{"Id": str(n), "MessageBody": body} for n in range(10)]
        letters.sqs.send_message_batch(QueueUrl=letters.queue_url, Entries=entries)
    start = time.monotonic()
    assert main(["redrive", "--all", "--yes"]) == 0
    assert not FULL or time.monotonic() - start < 120
    assert letters.count(letters.event_queue_url) == (count, 0)
    print(f"redrive: {time.monotonic() - start:.1f} s")


def test_a_walk_that_lasts_longer_than_messages_are_hidden_ends(
    letters: Letters, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It meets messages again that became visible meanwhile; each is visited once, and visible again afterwards."""
    letters.put(*[raw(native(id=str(n))) for n in range(120)])
    monkeypatch.setattr(queue, "_HIDDEN_SECONDS", 1)
    monkeypatch.setattr(queue, "_THREADS", 1)
    give_up = time.monotonic() + 20

    def visit(messages: list[Any]) -> tuple[list[str], set[str]]:
        assert time.monotonic() < give_up
        time.sleep(0.13)
        return [message["MessageId"] for message in messages], set()

    walk = queue.Queue(letters.sqs, letters.queue_url).walk(visit)
    visited = [message_id for batch in walk for message_id in batch]
    assert (len(visited), len(set(visited))) == (120, 120)
    assert letters.count(letters.queue_url) == (120, 0)


def test_a_reader_that_stops_early_makes_the_messages_visible_again(letters: Letters) -> None:
    """As with `list --json | head`."""
    for _ in range(30):
        letters.put(*[raw(native())] * 10)
    command = [sys.executable, "-m", "event_service.dead_letters", "list", "--json"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=os.environ | letters.environment()
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
    assert process.returncode == 128 + signal.SIGPIPE
    assert letters.count(letters.queue_url) == (300, 0)
