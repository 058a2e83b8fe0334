"""SQS records for tests of the pure parts, as Lambda delivers them."""

import json
from typing import Any

SENT_MILLISECONDS = 1795416846438
SENT = "2026-11-23T06:54:06.438000Z"
SNS_TIMESTAMP = "2026-11-23T06:59:16.123Z"
REMINDER = {
    "id": "item-1",
    "userId": "user-a",
    "date": "2026-11-23T07:54:00.000Z",
    "isRecurring": False,
    "notifyOffset": 0,
    "notifyType": "push",
    "message": "Stand-up meeting",
    "url": None,
    "createdAt": "2026-11-23T06:54:06.410Z",
    "updatedAt": "2026-11-23T06:54:06.410Z",
}
Json = dict[str, Any]


def legacy(data: Json | None = None, **fields: Any) -> Json:
    """Return a legacy event; a field given as None is left out."""
    event = {"userId": "user-a", "userEmail": "alice@example.com", "itemId": "item-1", "eventData": data or REMINDER}
    return {key: value for key, value in (event | fields).items() if value is not None}


def native(**fields: Any) -> Json:
    """Return a native event."""
    times = {"id": "event-1", "occurredAt": "2026-11-23T08:00:00+01:00"}
    return legacy(**{**times, "eventType": "reminder:updated", "causationId": "cause-1", **fields})


def cloud_event(**fields: Any) -> Json:
    """Return a CloudEvent; a field given as None is left out."""
    event = {
        "specversion": "1.0",
        "id": "event-1",
        "source": "/reminders",
        "type": "reminder:created",
        "time": "2026-11-23T07:00:00Z",
        "subject": "item-1",
        "data": {"userId": "user-a", "userEmail": "alice@example.com", "eventData": REMINDER},
    }
    return {key: value for key, value in (event | fields).items() if value is not None}


def raw(body: Json | str, event_type: str | None = "reminder:created", item_type: str | None = None) -> Json:
    """Return a record of a raw delivery."""
    attributes = {"eventType": event_type, "eventItemType": item_type}
    return {
        "messageId": "sqs-1",
        "body": body if isinstance(body, str) else json.dumps(body),
        "attributes": {"SentTimestamp": str(SENT_MILLISECONDS), "ApproximateReceiveCount": "1"},
        "messageAttributes": {
            name: {"stringValue": value, "dataType": "String", "stringListValues": [], "binaryListValues": []}
            for name, value in attributes.items()
            if value is not None
        },
        "eventSource": "aws:sqs",
    }


def wrapped(body: Json | str, event_type: str | None = "reminder:created", **notification: Any) -> Json:
    """Return a record with the SNS notification around the event."""
    envelope = {
        "Type": "Notification",
        "MessageId": "sns-1",
        "TopicArn": "arn:aws:sns:us-east-1:000000000000:event-topic",
        "Message": body if isinstance(body, str) else json.dumps(body),
        "Timestamp": SNS_TIMESTAMP,
        "MessageAttributes": {"eventType": {"Type": "String", "Value": event_type}} if event_type else {},
    } | notification
    record = raw(json.dumps(envelope, indent=2))
    return record | {"messageAttributes": {}}
