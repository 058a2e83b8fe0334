"""Events and the SQS records that carry them, as Lambda delivers them: the only message builders of the tests.

In every builder, `...` leaves a field out and None makes it null.
"""

import json
import random
import uuid
from base64 import b64encode
from datetime import UTC, datetime
from typing import Any

Json = dict[str, Any]
Record = dict[str, Any]
Attributes = dict[str, str]

CREATED, UPDATED, DELETED = "reminder:created", "reminder:updated", "reminder:deleted"

# Message attributes of the legacy format.
REMINDER = {"eventType": CREATED, "eventItemType": "reminder"}
NOTE = {"eventType": "note:added", "eventItemType": "note"}

# The personal data of the builders' events: neither may ever reach a log line.
ADDRESS = "alice@example.com"
PAYLOAD = "Stand-up meeting, between us only"

# When a record was published and sent, unless a test says otherwise. An event's own time takes precedence.
ENVELOPE_TIME = "2026-11-23T12:00:00.000Z"
SENT_AFTER_PUBLISHING = "2026-11-23T12:10:00.000Z"


def text(value: Any) -> str:
    """JSON as JavaScript's `JSON.stringify` writes it: compact, not escaped."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _given(fields: Json) -> Json:
    return {name: value for name, value in fields.items() if value is not ...}


def reminder_data(**changes: Any) -> Json:
    """The `eventData` of a reminder."""
    data = {
        "id": "item-1",
        "userId": "user-a",
        "date": "2027-01-01T08:00:00.000Z",
        "isRecurring": False,
        "notifyOffset": 0,
        "notifyType": "push",
        "message": PAYLOAD,
        "url": None,
        "createdAt": "2026-11-23T06:00:00.000Z",
        "updatedAt": "2026-11-23T06:00:00.000Z",
    }
    return _given(data | changes)


def legacy(**changes: Any) -> Json:
    """An event in the legacy format; its type is in the message attributes."""
    event = {"userId": "user-a", "userEmail": ADDRESS, "itemId": "item-1", "eventData": reminder_data()}
    return _given(event | changes)


def native(**changes: Any) -> Json:
    """An event in the native format, a `reminder:created` by default; its item type follows its event type."""
    event_type = changes.get("eventType", CREATED)
    named = isinstance(event_type, str) and ":" in event_type
    own = {
        "id": "event-1",
        "occurredAt": "2026-11-23T06:00:00Z",
        "eventType": event_type,
        "itemType": event_type.partition(":")[0] if named else "reminder",
    }
    return _given(own | legacy() | changes)


def cloud_event(**changes: Any) -> Json:
    """A CloudEvent, a `reminder:created` by default."""
    event = {
        "specversion": "1.0",
        "id": "1",
        "source": "/reminders",
        "type": CREATED,
        "time": "2026-11-23T06:00:00Z",
        "subject": "item-1",
        "data": {"userId": "user-a", "userEmail": ADDRESS, "eventData": reminder_data()},
    }
    return _given(event | changes)


def _attributes(attributes: Attributes | str | None) -> Attributes:
    return {"eventType": attributes} if isinstance(attributes, str) else attributes or {}


def raw(
    body: Json | str, attributes: Attributes | str | None = None, sent: str = ENVELOPE_TIME, message_id: str = ""
) -> Record:
    """A record that was delivered raw or sent directly; `attributes` may be just the event type."""
    milliseconds = str(round(datetime.fromisoformat(sent).astimezone(UTC).timestamp() * 1000))
    return {
        "messageId": message_id or str(uuid.uuid4()),
        "receiptHandle": uuid.uuid4().hex,
        "body": body if isinstance(body, str) else text(body),
        "attributes": {
            "ApproximateReceiveCount": "1",
            "SentTimestamp": milliseconds,
            "SenderId": "000000000000",
            "ApproximateFirstReceiveTimestamp": milliseconds,
        },
        "messageAttributes": {
            name: {"stringValue": value, "dataType": "String", "stringListValues": [], "binaryListValues": []}
            for name, value in _attributes(attributes).items()
        },
        "md5OfBody": "",
        "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:us-east-1:000000000000:event-queue",
        "awsRegion": "us-east-1",
    }


def wrapped(body: Json | str, attributes: Attributes | str | None = None, *, indent: Any = 2, **changes: Any) -> Record:
    """A record of a wrapped delivery, pretty-printed like the real SNS unless `indent` is None.

    `changes` are members of the SNS notification.
    """
    notification = {
        "Type": "Notification",
        "MessageId": str(uuid.uuid4()),
        "TopicArn": "arn:aws:sns:us-east-1:000000000000:event-topic",
        "Message": body if isinstance(body, str) else text(body),
        "Timestamp": ENVELOPE_TIME,
        "SignatureVersion": "1",
        "Signature": "FAKE",
        "MessageAttributes": {n: {"Type": "String", "Value": v} for n, v in _attributes(attributes).items()},
    }
    return raw(json.dumps(_given(notification | changes), indent=indent), sent=SENT_AFTER_PUBLISHING)


def sent(body: Json | str, attributes: Attributes | str | None = None) -> Record:
    """The record of an event where the envelope does not matter: wrapped."""
    return wrapped(body, attributes)


def again(record: Record) -> Record:
    """The same message redriven: SQS gives it another id."""
    return record | {"messageId": str(uuid.uuid4())}


def note(data_text: str, name: str = "", **fields: Any) -> str:
    """The text of a native event of an unknown type, with the given text as its data."""
    own = {"id": name or "1", "occurredAt": "2026-11-23T06:00:00Z", "eventType": "note:added"}
    head = own | {"userId": "user-a", "itemId": name or "item"} | fields
    return f'{{"eventData":{data_text},{text(head)[1:]}'


def spliced(body: Json, member: str) -> str:
    """A body's text with one more member, written as given, in its `eventData`."""
    return text(body).replace('"eventData":{', f'"eventData":{{{member},', 1)


def noise(size: int) -> str:
    """Text that gzip can hardly make smaller than three quarters of its size; the same every time."""
    return b64encode(random.Random(size).randbytes(size * 3 // 4)).decode()


def nested(levels: int) -> Any:
    """A value of `levels` arrays and objects in turn."""
    value: Any = [] if levels % 2 else {}
    for level in range(levels - 1):
        value = {"a": value} if (levels - level) % 2 == 0 else [value]
    return value
