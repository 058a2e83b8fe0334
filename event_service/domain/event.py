"""The canonical event, and the types that affect notifications."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal
from uuid import UUID, uuid5

from event_service.codec.instants import Instant

Effect = Literal["create", "update", "delete"]
EventKey = tuple[str, str]  # partition key and sort key of an event in the event store


@dataclass(frozen=True, slots=True)
class KnownType:
    """What events of a type do to the notification of a user, a subject and an item.

    `create` and `update` both create or replace it, and both need `eventData.date`; they differ in precedence only.
    `subject` is the item type whose notification it is: invoice 7 and reminder 7 of a user are two notifications.
    """

    effect: Effect
    subject: str


# To teach the service a type that schedules or cancels notifications, add it here. Events of every other type are only
# stored.
KNOWN_TYPES: Final[Mapping[str, KnownType]] = {
    "reminder:created": KnownType("create", subject="reminder"),
    "reminder:updated": KnownType("update", subject="reminder"),
    "reminder:deleted": KnownType("delete", subject="reminder"),
    # Commands: their item is the reminder.
    "notification:create": KnownType("create", subject="reminder"),
    "notification:update": KnownType("update", subject="reminder"),
    "notification:delete": KnownType("delete", subject="reminder"),
}
# The types of facts, with the effect that each reports. A fact that comes back through the queue changes nothing.
FACT_TYPES: Final[Mapping[str, Effect]] = {
    "notification:created": "create",
    "notification:updated": "update",
    "notification:deleted": "delete",
}

NAMESPACE: Final = UUID("6b1f2f0e-6d5c-5d0e-9c1f-8f6f1d0a7e55")  # of every UUIDv5 of the service; never change it


def subject_of(item_type: str) -> str:
    """Return the subject that events of an item type concern: that of the known types, otherwise the item type."""
    prefix = f"{item_type}:"
    return next((known.subject for name, known in KNOWN_TYPES.items() if name.startswith(prefix)), item_type)


def notification_id(user_id: str, subject: str, item_id: str) -> str:
    """Return the id of a notification. It depends on nothing else, and so a rebuild gives the same rows."""
    return str(uuid5(NAMESPACE, json.dumps([user_id, subject, item_id])))


@dataclass(frozen=True, slots=True)
class Event:
    """A validated event. `data` is the JSON text of its `eventData`, exactly as received.

    `is_fact` separates the service's own facts from events that another producer sends with the same type.
    """

    id: str
    occurred_at: Instant
    event_type: str
    item_type: str
    item_id: str
    user_id: str
    user_email: str | None
    causation_id: str | None
    data: str
    is_fact: bool = False

    @property
    def pk(self) -> str:
        """The event's stream: its partition key in the event store."""
        return f"{self.item_type}#{self.item_id}"

    @property
    def sk(self) -> str:
        """The event's position in its stream: its sort key in the event store."""
        return f"{self.occurred_at}#{self.id}"

    @property
    def key(self) -> EventKey:
        """The event's key in the event store."""
        return self.pk, self.sk

    @property
    def known_type(self) -> KnownType | None:
        """What the event does to a notification; None if it is only stored."""
        return KNOWN_TYPES.get(self.event_type)
