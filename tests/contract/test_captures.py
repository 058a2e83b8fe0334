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

DELIVERIES = ("wrapped", "raw")
KINDS = (
    "reminder-created",
    "reminder-updated",
    "reminder-deleted",
    "notification-create",
    "notification-update",
    "notification-delete",
)
REJECTED = "create-year-60000"


def canonical(record: Record) -> Event:
    """The event of a captured record; `id` is "" where the service has to compute it."""
    body = json.loads(record["body"])
    envelope = body if "Message" in body else None
    text = envelope["Message"] if envelope else record["body"]
    event = json.loads(text)
    attributes = {name: value["stringValue"] for name, value in record["messageAttributes"].items()}
    if envelope:
        attributes = {name: value["Value"] for name, value in envelope["MessageAttributes"].items()}
    occurred_at = event["eventData"]["updatedAt"]
    if attributes["eventType"].endswith((":deleted", ":delete")):
        # Deleted later than it was last updated: the envelope says when.
        occurred_at = envelope["Timestamp"] if envelope else sent_at(record)
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


@pytest.mark.parametrize("delivery", DELIVERIES)
def test_every_captured_message_does_what_the_contract_says(world: World, delivery: str) -> None:
    """Each capture is stored, applied and published as modelled; the date in year 60000 alone is rejected."""
    batches = [captured(f"{kind}.{delivery}.json") for kind in KINDS]
    model = Model()
    for batch in batches:
        answer = world.invoke(list(batch.values()))
        bad = batch.pop(REJECTED, None)
        assert answer.failed == ({bad["messageId"]} if bad else set())
        events = [canonical(record) for record in batch.values()]
        model.deliver(world.learn(events))
    world.check(model)


@pytest.mark.parametrize("delivery", DELIVERIES)
def test_captures_redelivered_backwards_change_nothing(world: World, delivery: str) -> None:
    """All captures again, in the opposite order and as other SQS messages, leave everything as it was."""
    records = [r for kind in KINDS for r in captured(f"{kind}.{delivery}.json").values()]
    world.invoke(records)
    before = (world.items(), world.rows(), world.published())
    answer = world.invoke([again(record) for record in reversed(records)])
    assert len(answer.failed) == 1
    assert (world.items(), world.rows()) == before[:2]
    assert world.published() == []


@pytest.mark.parametrize("delivery", DELIVERIES)
def test_a_captured_event_costs_one_write_unit(world: World, delivery: str) -> None:
    """An event of ordinary size and its fact take at most 1 KiB each in the store (§3)."""
    world.invoke([record for kind in KINDS for record in captured(f"{kind}.{delivery}.json").values()])
    sizes = [item_size(item) for item in event_items.scan(world.aws)]
    assert sizes
    assert max(sizes) <= 1024


def item_size(item: dict[str, dict[str, Any]]) -> int:
    """What DynamoDB counts: the bytes of all names and values, numbers aside."""
    values = [value.get("B") or str(value.get("S", "")).encode() for value in item.values()]
    return sum(len(name) for name in item) + sum(len(value) for value in values)
