"""What an event of a known type makes of the user's notification for the item."""

import json
from collections.abc import Mapping
from uuid import uuid5

from event_service.errors import Rejected
from event_service.events import NAMESPACE, Event
from event_service.instants import Instant, usable_instant
from event_service.jsonb import check_numbers
from event_service.strict_json import Member, compose_object, dumps, members_of


def notification_id(user_id: str, item_id: str) -> str:
    """Return the id of a user's notification for an item: a rebuild gives the same."""
    return str(uuid5(NAMESPACE, json.dumps([user_id, item_id])))


def project(event: Event) -> str:
    """Return the notification as an event of a known type makes it, as a JSON object.

    Its members are those of a fact's `eventData` but for `createdAt`, which only the table knows: `id`, `userId`,
    `userEmail`, `itemType`, `itemId`, `deliverAt`, `notificationData`, `updatedAt`.

    Raises:
        Rejected: the event has no usable `date` where one is required, or a number that jsonb cannot hold.

    """
    data, deliver_at = read_data(event)
    return compose_object(
        {
            "id": dumps(notification_id(event.user_id, event.item_id)),
            "userId": dumps(event.user_id),
            "userEmail": dumps(event.user_email),
            "itemType": dumps(event.item_type),
            "itemId": dumps(event.item_id),
            "deliverAt": dumps(deliver_at),
            "notificationData": _enriched(event, data),
            "updatedAt": dumps(event.occurred_at),
        }
    )


def read_data(event: Event) -> tuple[dict[str, Member], Instant | None]:
    """Return the data of an event of a known type, and when it says to deliver.

    Raises:
        Rejected: as `project`.

    """
    data = members_of(event.data)
    deliver_at = usable_instant(data["date"].value if "date" in data else None)
    if deliver_at is None and event.effect == "upsert":
        problem = "is no RFC 3339 instant in the years 1-9999" if "date" in data else "is missing"
        raise Rejected("invalid_field", problem, "eventData.date")
    check_numbers(event.data, "eventData")
    return data, deliver_at


def _enriched(event: Event, data: Mapping[str, Member]) -> str:
    """Return the event's data with what the delivery services need, every other member exactly as it came."""
    texts = {
        field: data[field].value if field in data and isinstance(data[field].value, str) else ""
        for field in ("message", "url")  # the notification-service retries a null for ever
    }
    needed = {"userEmail": event.user_email, "reminderId": event.item_id, "userId": event.user_id, **texts}
    return compose_object(
        {key: member.text for key, member in data.items()} | {key: dumps(value) for key, value in needed.items()}
    )
