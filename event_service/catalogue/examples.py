"""Example messages: a reminder's event in each format, and its fact."""

from typing import Any, Final

Json = dict[str, Any]

_EXAMPLE_DATA: Final[Json] = {
    "id": "jiBF3GxpzzRxHVBw6LqAse",
    "userId": "user-a",
    "date": "2026-11-23T07:54:00.000Z",
    "isRecurring": False,
    "notifyOffset": 0,
    "notifyType": "push",
    "message": "Stand-up meeting",
    "url": "https://example.com/meet?x=1&y=2",
    "createdAt": "2026-11-23T06:54:06.410Z",
    "updatedAt": "2026-11-23T06:54:06.410Z",
}
_EXAMPLE_USER: Final[Json] = {"userId": "user-a", "userEmail": "alice@example.com"}


def examples_of(name: str) -> list[Json]:
    """Return one event of a type in each format; the legacy reminder:created is events/reminder-created.json."""
    item_type = name.partition(":")[0]
    item_id = _EXAMPLE_DATA["id"]
    legacy = _EXAMPLE_USER | {"itemId": item_id, "eventData": _EXAMPLE_DATA}
    time = _EXAMPLE_DATA["updatedAt"]
    native = {"id": "01JDC9Z3V8K6T5N2Q4R7W0XYEB", "eventType": name, "itemType": item_type, "occurredAt": time} | legacy
    cloud = {
        "specversion": "1.0",
        "id": "A234-1234-1234",
        "source": "https://calendar.example.com/reminders",
        "type": name,
        "time": time,
        "subject": item_id,
        "datacontenttype": "application/json",
        "itemtype": item_type,
        "data": _EXAMPLE_USER | {"eventData": _EXAMPLE_DATA},
    }
    return [
        {"name": "legacy", "headers": {"eventType": name, "eventItemType": item_type}, "payload": legacy},
        {"name": "native", "headers": {}, "payload": native},
        {"name": "cloudEvents", "headers": {}, "payload": cloud},
    ]


def fact_example(name: str) -> Json:
    """Return a fact of a type as it is published."""
    notification_id = "b8b8f2b4-5d0c-5c7e-8a55-2f8d6a0c9e11"
    data = _EXAMPLE_USER | {
        "id": notification_id,
        "itemType": "reminder",
        "itemId": _EXAMPLE_DATA["id"],
        "deliverAt": "2026-11-23T07:54:00.000000Z",
        "notificationData": _EXAMPLE_DATA | _EXAMPLE_USER | {"reminderId": _EXAMPLE_DATA["id"]},
        "updatedAt": "2026-11-23T06:54:06.410000Z",
        "createdAt": "2026-11-23T06:54:06.410000Z",
    }
    payload = _EXAMPLE_USER | {
        "id": "5d6f5a0e-7d3b-5b44-9a0e-7f5c1f3d2b10",
        "eventType": name,
        "itemType": "notification",
        "itemId": notification_id,
        "occurredAt": "2026-11-23T06:54:06.410000Z",
        "causationId": "8a119b9e-16bc-4732-8f7b-7676d015b0dc",
        "eventData": data,
    }
    headers = {"eventItemType": "notification", "eventType": name, "userId": "user-a"}
    return {"name": "fact", "headers": headers, "payload": payload}
