"""What an event of a known type makes of the user's notification for the item."""

from collections.abc import Mapping

from event_service.codec.instants import Instant, usable_instant
from event_service.codec.json_text import compose_object, dumps, string_of, texts_of
from event_service.codec.jsonb import check_numbers
from event_service.domain.event import Effect, Event, notification_id
from event_service.errors import Rejected


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


def read_data(event: Event) -> tuple[dict[str, str], Instant | None]:
    """Return the data of an event of a known type, each member as its exact text, and when it says to deliver.

    Raises:
        Rejected: as `project`.

    """
    data = texts_of(event.data)
    deliver_at = date_of(data, event.effect)
    check_numbers(event.data, "eventData")
    return data, deliver_at


def date_of(data: Mapping[str, str], effect: Effect | None) -> Instant | None:
    """Return when the data of an event says to deliver.

    Raises:
        Rejected: it does not say, and the effect is one that needs it.

    """
    deliver_at = usable_instant(string_of(data.get("date")))
    if deliver_at is None and effect == "upsert":
        problem = "is no RFC 3339 instant in the years 1-9999" if "date" in data else "is missing"
        raise Rejected("invalid_field", problem, "eventData.date")
    return deliver_at


def _enriched(event: Event, data: Mapping[str, str]) -> str:
    """Return the event's data with what the delivery services need, every other member exactly as it came."""
    # An ill-typed one counts as absent; the notification-service retries a null for ever.
    texts = {field: string_of(data.get(field)) or "" for field in ("message", "url")}
    needed = {"userEmail": event.user_email, "reminderId": event.item_id, "userId": event.user_id, **texts}
    return compose_object({**data, **{name: dumps(value) for name, value in needed.items()}})
