"""§10: a rejected record goes to the dead-letter queue at once, unchanged and with its reason."""

import json
from typing import Any

import pytest

from local.stack import Stack
from tests.support.dead_letters import Letters, make_letters
from tests.support.messages import (
    ADDRESS,
    CREATED,
    NOTE,
    PAYLOAD,
    REMINDER,
    legacy,
    native,
    raw,
    reminder_data,
    text,
    wrapped,
)
from tests.support.world import World

MALFORMED = '{"userId": "user-a", "itemId": '


@pytest.fixture
def letters(stack: Stack, world: World, monkeypatch: pytest.MonkeyPatch) -> Letters:
    made = make_letters(stack)
    monkeypatch.setenv("REJECTED_TOPIC_ARN", made.topic_arn)
    return made


def rejection(message: Any) -> Any:
    return json.loads(message["MessageAttributes"]["rejection"]["StringValue"])


@pytest.mark.parametrize("envelope", [raw, wrapped])
def test_a_rejected_record_is_a_dead_letter_and_acknowledged(world: World, letters: Letters, envelope: Any) -> None:
    """Body and attributes are unchanged; `rejection` says why, for which record, and when."""
    record = envelope(MALFORMED, REMINDER)
    answer = world.invoke([record])
    assert answer.failed == set()
    (message,) = letters.received()
    assert message["Body"] == record["body"]
    attributes = {name: value["StringValue"] for name, value in message["MessageAttributes"].items()}
    del attributes["rejection"]
    assert attributes == {name: value["stringValue"] for name, value in record["messageAttributes"].items()}
    found = rejection(message)
    assert [*found] == ["reason", "field", "error", "messageId", "sentAt", "rejectedAt"]
    assert (found["reason"], found["messageId"]) == ("not_json", record["messageId"])
    assert found["sentAt"] in ("2026-11-23T12:00:00.000000Z", "2026-11-23T12:10:00.000000Z")
    assert len(found["rejectedAt"]) == len(found["sentAt"])
    (entry,) = answer.entries(record)
    assert (entry["reason"], entry["error"], entry["handed_over"]) == ("not_json", found["error"], True)


def test_a_conflict_names_the_fields_that_differ_but_no_value(world: World, letters: Letters) -> None:
    """The stored event is named by when it was recorded."""
    world.accept(raw(native(eventType="note:added")))
    other = raw(native(eventType="note:added", eventData=reminder_data(message="lunch"), userId="user-b"))
    assert world.invoke([other]).failed == set()
    (message,) = letters.received()
    found = rejection(message)
    assert (found["reason"], found["field"]) == ("conflict", "id")
    assert "userId" in found["error"]
    assert "eventData" in found["error"]
    (item,) = world.items().values()
    assert item["recordedAt"] in found["error"]
    assert not [value for value in (PAYLOAD, ADDRESS, "user-b", "lunch") if value in found["error"]]


def test_neighbours_of_a_rejected_record_are_processed(world: World, letters: Letters) -> None:
    """Each rejected record becomes one dead letter, and the others are stored."""
    good = [raw(native(id=f"event-{n}", itemId=f"item-{n}")) for n in range(5)]
    bad = [raw(legacy(userId=""), REMINDER | {"n": str(n)}) for n in range(23)]
    answer = world.invoke([record for pair in zip(bad, good * 5, strict=False) for record in pair])
    assert answer.failed == set()
    assert len(world.rows()) == 5
    assert len(letters.received()) == 23
    assert {rejection(message)["field"] for message in letters.received()} == {"userId"}


def test_an_error_never_quotes_a_value(world: World, letters: Letters) -> None:
    """The rejection has no personal data that the body does not have."""
    world.invoke([raw(legacy(eventData=reminder_data(date=PAYLOAD)), REMINDER)])
    (message,) = letters.received()
    assert PAYLOAD not in message["MessageAttributes"]["rejection"]["StringValue"]
    assert rejection(message)["field"] == "eventData.date"


def test_without_a_topic_a_rejected_record_fails(world: World) -> None:
    """It is redelivered until SQS makes it a dead letter."""
    record = raw(MALFORMED)
    answer = world.invoke([record])
    assert answer.failed == {record["messageId"]}
    (entry,) = answer.entries(record)
    assert entry["handed_over"] is False


def test_if_the_topic_does_not_accept_a_record_it_fails(world: World, letters: Letters) -> None:
    """The log names both reasons; good records of the batch are done."""
    letters.sns.delete_topic(TopicArn=letters.topic_arn)
    bad, good = raw(MALFORMED), raw(text(native()))
    answer = world.invoke([bad, good])
    assert answer.failed == {bad["messageId"]}
    (entry,) = answer.entries(bad)
    assert (entry["reason"], entry["handed_over"]) == ("not_json", False)
    assert entry["handover_error"].startswith("rejected_topic: ")
    assert len(world.rows()) == 1


def test_a_record_that_the_topic_cannot_take_fails(world: World, letters: Letters) -> None:
    """More than 256 KiB, or 10 attributes: it comes back, and its neighbours become dead letters."""
    large = raw("x" * (256 * 1024))
    many = raw(MALFORMED, {f"name-{n}": "x" for n in range(10)})
    fits = raw(MALFORMED, {f"name-{n}": "x" for n in range(9)})
    answer = world.invoke([large, many, fits])
    assert answer.failed == {large["messageId"], many["messageId"]}
    (message,) = letters.received()
    assert rejection(message)["messageId"] == fits["messageId"]


def test_a_record_rejected_again_has_its_new_reason(world: World, letters: Letters) -> None:
    """The attribute of an earlier rejection is replaced, even if it is the tenth."""
    record = raw(MALFORMED, {f"name-{n}": "x" for n in range(9)} | {"rejection": "old"})
    assert world.invoke([record]).failed == set()
    (message,) = letters.received()
    assert rejection(message)["messageId"] == record["messageId"]


def test_near_the_deadline_nothing_is_handed_over(world: World, letters: Letters) -> None:
    """The record is reported as failed."""
    record = raw(MALFORMED)
    assert world.invoke([record], milliseconds_left=400).failed == {record["messageId"]}
    assert letters.received() == []


def test_what_fails_for_another_reason_is_no_rejection(world: World, letters: Letters) -> None:
    """A record whose fact cannot be published is retried, and is not a dead letter."""
    record = raw(native(), CREATED)
    with world.without_topic():
        assert world.invoke([record], milliseconds_left=2_000).failed == {record["messageId"]}
    assert letters.received() == []


def test_metrics_count_rejections_and_failures_by_reason(world: World, letters: Letters) -> None:
    """A record that was handed over is rejected, not failed; stored events are counted by type."""
    records = [raw(MALFORMED), raw(native()), raw(legacy(), NOTE), raw("x" * (256 * 1024))]
    lines = [json.loads(line) for line in world.invoke(records).lines]
    found = [line for line in lines if "_aws" in line]

    def metric(name: str, **dimensions: str) -> list[Any]:
        chosen = [line for line in found if name in line and dimensions.items() <= line.items()]
        return [
            line[name]
            for line in chosen
            if len(line["_aws"]["CloudWatchMetrics"][0]["Dimensions"][0]) == 1 + len(dimensions)
        ]

    assert metric("EventsRejected") == [[2.0]]
    assert metric("EventsRejected", reason="not_json") == [[2.0]]
    assert metric("RecordsFailed") == [[1.0]]
    assert metric("RecordsFailed", reason="rejected_topic") == [[1.0]]
    assert metric("RecordsFailed", reason="not_json") == []
    assert metric("EventsStored", eventType="reminder:created") == [[1.0]]
    assert metric("EventsStored", eventType="other") == [[1.0]]
