"""Events as the function receives them: every format of §2 in every envelope, as SQS records."""

import json
import uuid
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from .oracle import Event, instant

CAPTURES = Path(__file__).parent.parent / "captures"
Record = dict[str, Any]
Attributes = dict[str, str]

# An envelope's time where the event brings its own: it must not matter.
ENVELOPE_TIME = "2026-11-23T12:00:00.000Z"


def text(value: Any) -> str:
    """JSON as JavaScript's `JSON.stringify` writes it: compact, not escaped."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def raw(body: str, attributes: Attributes | None = None, sent: str = ENVELOPE_TIME) -> Record:
    """A record delivered raw or sent directly, `sent` being SQS's `SentTimestamp`."""
    milliseconds = str(round(instant(sent).timestamp() * 1000))
    return {
        "messageId": str(uuid.uuid4()),
        "receiptHandle": uuid.uuid4().hex,
        "body": body,
        "attributes": {
            "ApproximateReceiveCount": "1",
            "SentTimestamp": milliseconds,
            "SenderId": "000000000000",
            "ApproximateFirstReceiveTimestamp": milliseconds,
        },
        "messageAttributes": {
            name: {"stringValue": value, "dataType": "String", "stringListValues": [], "binaryListValues": []}
            for name, value in (attributes or {}).items()
        },
        "md5OfBody": "",
        "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:us-east-1:000000000000:event-queue",
        "awsRegion": "us-east-1",
    }


def wrapped(
    message: str,
    attributes: Attributes | None = None,
    published: str = ENVELOPE_TIME,
    message_id: str = "",
    indent: int | None = 2,
) -> Record:
    """A record of a wrapped delivery, pretty-printed as the real SNS does it unless `indent` is None."""
    notification = {
        "Type": "Notification",
        "MessageId": message_id or str(uuid.uuid4()),
        "TopicArn": "arn:aws:sns:us-east-1:000000000000:event-topic",
        "Message": message,
        "Timestamp": published,
        "SignatureVersion": "1",
        "Signature": "FAKE",
        "MessageAttributes": {n: {"Type": "String", "Value": v} for n, v in (attributes or {}).items()},
    }
    # Sent ten minutes after it was published: only the SNS time may count.
    return raw(json.dumps(notification, indent=indent), sent="2026-11-23T12:10:00.000Z")


def again(record: Record) -> Record:
    """The same message redriven: SQS gives it another id."""
    return record | {"messageId": str(uuid.uuid4())}


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


def cloudevent_text(event: Event) -> str:
    source, _, name = event.id.rpartition("/")
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
    """SNS's id is the event's; its time is the event's wherever that has none of its own."""
    return wrapped(legacy_text(event), legacy_attributes(event), event.occurred_at, event.id, indent)


def legacy_raw(event: Event) -> Record:
    """Its id is the service's to compute: see `World.learn`."""
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
    "CloudEvents wrapped": lambda event: wrapped(cloudevent_text(event)),
    "CloudEvents raw": lambda event: raw(cloudevent_text(event)),
}


def captured(name: str) -> dict[str, Record]:
    """The captured messages of one file as Lambda would deliver them, by case."""
    entries = json.loads((CAPTURES / name).read_text())
    return {entry.get("case", name): _delivered(entry.get("message", entry)) for entry in entries}


def _delivered(message: dict[str, Any]) -> Record:
    sent = datetime.fromtimestamp(int(message["Attributes"]["SentTimestamp"]) / 1000).astimezone()
    attributes = {n: v["StringValue"] for n, v in message.get("MessageAttributes", {}).items()}
    return raw(message["Body"], attributes, sent.isoformat()) | {"messageId": message["MessageId"]}
