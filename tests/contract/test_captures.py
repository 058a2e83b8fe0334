"""Every captured message of the neighbours, wrapped and raw."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.support import event_items
from tests.support.formats import captured
from tests.support.messages import Record, again
from tests.support.oracle import Event, Model
from tests.support.world import World

KINDS = (
    "reminder-created",
    "reminder-updated",
    "reminder-deleted",
    "notification-create",
    "notification-update",
    "notification-delete",
    "reminder-unusual",
)
DELIVERIES = {
    "wrapped": [f"{kind}.wrapped.json" for kind in (*KINDS, "reminder-timezone-shift")],
    "raw": [f"{kind}.raw.json" for kind in KINDS],
}
# The only captures that can never be processed, with the field at fault.
REJECTED = {
    "create-year-60000": "eventData.date",
    "reminder:created emptyuser-header": "userId",
    "reminder:created longuser": "userId",
}
every_delivery = pytest.mark.parametrize("delivery", DELIVERIES)


def canonical(record: Record) -> Event:
    """The event of a captured record; `id` is "" where the service has to compute it."""
    body = json.loads(record["body"])
    envelope = body if "Message" in body else None
    text = envelope["Message"] if envelope else record["body"]
    event = json.loads(text)
    attributes = {name: value["stringValue"] for name, value in record["messageAttributes"].items()}
    if envelope:
        attributes = {name: value["Value"] for name, value in envelope["MessageAttributes"].items()}
    # Nothing happened after it was published; and a deletion later than the last update, which is all its data tells.
    occurred_at = envelope["Timestamp"] if envelope else sent_at(record)
    if not attributes["eventType"].endswith((":deleted", ":delete")):
        occurred_at = min(occurred_at, event["eventData"]["updatedAt"])
    return Event(
        id=envelope["MessageId"] if envelope else "",
        occurred_at=occurred_at.replace("Z", "000Z"),
        event_type=attributes["eventType"],
        item_id=event["itemId"],
        user_id=event["userId"],
        user_email=event.get("userEmail"),
        data_text=text[text.index('"eventData":') + len('"eventData":') : -1],
    )


def sent_at(record: Record) -> str:
    """SQS's SentTimestamp as text."""
    seconds = int(record["attributes"]["SentTimestamp"]) / 1000
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def records_of(delivery: str) -> dict[str, Record]:
    """All captures of a delivery, by case."""
    return {case: record for name in DELIVERIES[delivery] for case, record in captured(name).items()}


@every_delivery
def test_every_captured_message_does_what_the_contract_says(world: World, delivery: str) -> None:
    """Each capture is stored, applied and published as modelled; the rejected ones name the field at fault."""
    model = Model()
    rejected: dict[str, list[str]] = {}
    for name in DELIVERIES[delivery]:
        batch = captured(name)
        answer = world.invoke(list(batch.values()))
        bad = {case: batch.pop(case) for case in REJECTED if case in batch}
        assert answer.failed == {record["messageId"] for record in bad.values()}, answer.lines
        rejected |= {case: [entry["field"] for entry in answer.entries(record)] for case, record in bad.items()}
        model.deliver(world.learn([canonical(record) for record in batch.values()]))
    world.check(model)
    assert rejected == {case: [field] for case, field in REJECTED.items()}


@every_delivery
def test_captures_redelivered_backwards_change_nothing(world: World, delivery: str) -> None:
    """All captures again, in the opposite order and as other SQS messages, leave everything as it was."""
    records = [*records_of(delivery).values()]
    world.invoke(records)
    before = (world.items(), world.rows(), world.published())
    answer = world.invoke([again(record) for record in reversed(records)])
    assert len(answer.failed) == len(REJECTED)
    assert (world.items(), world.rows()) == before[:2]
    assert world.published() == []


@every_delivery
def test_a_captured_event_costs_one_write_unit(world: World, delivery: str) -> None:
    """An event of ordinary size and its fact take at most 1 KiB each in the store (§3)."""
    world.invoke([*records_of(delivery).values()])
    sizes = [item_size(item) for item in event_items.scan(world.aws)]
    assert sizes
    assert max(sizes) <= 1024


def test_a_text_cut_in_the_middle_of_an_emoji_is_stored_as_it_came_and_delivered_readable(world: World) -> None:
    """The event store keeps the escape; the row and the fact have U+FFFD (`reminder-unusual`)."""
    world.accept(captured("reminder-unusual.wrapped.json")["reminder:created surrogate"])
    (item,) = world.events().values()
    assert r"lone \ud83d surrogate" in item["eventData"]
    assert world.row()["notification_data"]["message"] == "lone \ufffd surrogate"
    (fact,) = world.published()
    assert fact.body["eventData"]["notificationData"]["message"] == "lone \ufffd surrogate"


def test_a_producer_whose_clock_is_ahead_does_not_decide_the_future(world: World) -> None:
    """Five hours ahead, in part: the updates count in the order of their publication, and the deletions win."""
    records = captured("reminder-timezone-shift.wrapped.json")
    for record in records.values():
        world.accept(record)
    published = {json.loads(record["body"])["Timestamp"].replace("Z", "000Z") for record in records.values()}
    assert {item["occurredAt"] for item in world.events().values()} == published
    assert all(row["deleted_at"] for row in world.rows().values())
    verbs = ["created", "updated", "updated", "deleted", "created", "deleted"]
    assert [message.body["eventType"] for message in world.published()] == [f"notification:{verb}" for verb in verbs]


def item_size(item: dict[str, dict[str, Any]]) -> int:
    """What DynamoDB counts: the bytes of all names and values, numbers aside."""
    values = [value.get("B") or str(value.get("S", "")).encode() for value in item.values()]
    return sum(len(name) for name in item) + sum(len(value) for value in values)
