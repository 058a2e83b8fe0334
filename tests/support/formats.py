"""Canonical events in every format and envelope that the function accepts, and the captured messages."""

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.support.messages import Attributes, Record, raw, text, wrapped
from tests.support.oracle import Event

CAPTURES = Path(__file__).parents[1] / "captures"


def legacy_text(event: Event) -> str:
    """The body today's producers send; `eventData` is spliced in as the text it is."""
    head = {"userId": event.user_id}
    if event.user_email is not None:
        head["userEmail"] = event.user_email
    return f'{text(head | {"itemId": event.item_id})[:-1]},"eventData":{event.data_text}}}'


def legacy_attributes(event: Event) -> Attributes:
    return {"eventType": event.event_type, "eventItemType": event.item_type}


def native_text(event: Event) -> str:
    body = {
        "id": event.id,
        "occurredAt": event.occurred_at,
        "eventType": event.event_type,
        "itemType": event.item_type,
        "causationId": event.causation_id,
    }
    return text(body)[:-1] + "," + legacy_text(event)[1:]


def cloud_event_text(event: Event) -> str:
    source, _, name = event.id.rpartition(" ")
    body = {
        "specversion": "1.0",
        "id": name,
        "source": source,
        "type": event.event_type,
        "time": event.occurred_at,
        "subject": event.item_id,
    }
    email = "" if event.user_email is None else f'"userEmail":{text(event.user_email)},'
    data = f'{{"userId":{text(event.user_id)},{email}"eventData":{event.data_text}}}'
    return f'{text(body)[:-1]},"data":{data}}}'


def legacy_wrapped(event: Event, indent: int | None = 2) -> Record:
    """The event's id is SNS's, and so is its time unless the event has its own."""
    envelope = {"Timestamp": event.occurred_at, "MessageId": event.id}
    return wrapped(legacy_text(event), legacy_attributes(event), indent=indent, **envelope)


def legacy_raw(event: Event) -> Record:
    """The service computes its id: see `World.learn`."""
    return raw(legacy_text(event), legacy_attributes(event), event.occurred_at)


def native_raw(event: Event) -> Record:
    return raw(native_text(event))


LEGACY_RAW = "legacy raw"
ENCODERS: dict[str, Callable[[Event], Record]] = {
    "legacy wrapped": legacy_wrapped,
    "legacy wrapped compact": lambda event: legacy_wrapped(event, indent=None),
    LEGACY_RAW: legacy_raw,
    "native wrapped": lambda event: wrapped(native_text(event)),
    "native wrapped compact": lambda event: wrapped(native_text(event), indent=None),
    "native raw": native_raw,
    "CloudEvents wrapped": lambda event: wrapped(cloud_event_text(event)),
    "CloudEvents raw": lambda event: raw(cloud_event_text(event)),
}


def captured(name: str) -> dict[str, Record]:
    """The captured messages of one file as Lambda would deliver them, by case; repeated cases are numbered."""
    found: dict[str, Record] = {}
    for number, entry in enumerate(json.loads((CAPTURES / name).read_text()), 1):
        case = entry.get("case", name)
        found[f"{case} {number}" if case in found else case] = _delivered(entry.get("message", entry))
    return found


def _delivered(message: dict[str, Any]) -> Record:
    sent = datetime.fromtimestamp(int(message["Attributes"]["SentTimestamp"]) / 1000).astimezone()
    # An empty value arrives as none at all.
    attributes = {n: v["StringValue"] for n, v in message.get("MessageAttributes", {}).items() if "StringValue" in v}
    return raw(message["Body"], attributes, sent.isoformat()) | {"messageId": message["MessageId"]}
