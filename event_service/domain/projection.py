"""The notification that an event of a known type makes: what is projected from events into the notifications table."""

from collections.abc import Mapping

from event_service.codec.instants import Instant, parse_instant_or_none
from event_service.codec.json_text import dumps, json_object, raw_members, string_value
from event_service.codec.jsonb import check_numbers, replace_unstorable
from event_service.domain.event import Effect, Event, KnownType, notification_id
from event_service.errors import Rejected


def project(event: Event, known: KnownType) -> str:
    """Return the notification that an event of a known type makes, as a JSON object.

    Its members are those of a fact's `eventData` except `createdAt`, which only the table knows: `id`, `userId`,
    `userEmail`, `itemType`, `itemId`, `deliverAt`, `notificationData`, `updatedAt`.

    Raises:
        Rejected: the event lacks a usable `date` that it needs, or has a number that jsonb cannot hold.

    """
    data, deliver_at = check_data(event, known.effect)
    return json_object(
        {
            "id": dumps(notification_id(event.user_id, known.subject, event.item_id)),
            "userId": dumps(event.user_id),
            "userEmail": dumps(event.user_email),
            "itemType": dumps(event.item_type),
            "itemId": dumps(event.item_id),
            "deliverAt": dumps(deliver_at),
            "notificationData": _enriched(event, data),
            "updatedAt": dumps(event.occurred_at),
        }
    )


def check_data(event: Event, effect: Effect) -> tuple[dict[str, str], Instant | None]:
    """Check the `eventData` of a known type; return its members as jsonb can hold them, and when it says to deliver.

    Raises:
        Rejected: as `project`.

    """
    data = raw_members(replace_unstorable(event.data))
    deliver_at = delivery_time(data, effect)
    check_numbers(event.data, "eventData")
    return data, deliver_at


def delivery_time(data: Mapping[str, str], effect: Effect) -> Instant | None:
    """Return when `eventData` says to deliver; None if a deletion does not say.

    Raises:
        Rejected: it does not say, and the effect needs it.

    """
    deliver_at = parse_instant_or_none(string_value(data.get("date")))
    if deliver_at is None and effect != "delete":
        problem = "is not an RFC 3339 date-time in the years 1-9999" if "date" in data else "is missing"
        raise Rejected("invalid_field", problem, "eventData.date")
    return deliver_at


def _enriched(event: Event, data: Mapping[str, str]) -> str:
    """Return the event's data with what the delivery services need, and every other member exactly as received."""
    # An ill-typed text counts as absent; the notification-service retries a null forever.
    texts = {field: string_value(data.get(field)) or "" for field in ("message", "url")}
    needed = {"userEmail": event.user_email, "reminderId": event.item_id, "userId": event.user_id, **texts}
    return json_object({**data, **{name: dumps(value) for name, value in needed.items()}})
