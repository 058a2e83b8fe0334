"""The event in its canonical form, and the types that have an effect."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal
from uuid import UUID, uuid5

from event_service.codec.instants import Instant

Effect = Literal["upsert", "delete"]
Rank = tuple[Instant, bool, str, str]
EventKey = tuple[str, str]  # an event's stream in the event store and its place there

# What an event of a known type does to the user's notification for the item. Of every other type, events are stored
# and nothing else. To teach the service a new type that schedules notifications, add it here.
KNOWN_TYPES: Final[Mapping[str, Effect]] = {
    "reminder:created": "upsert",
    "reminder:updated": "upsert",
    "reminder:deleted": "delete",
    "notification:create": "upsert",
    "notification:update": "upsert",
    "notification:delete": "delete",
}
# What this service publishes itself. Such an event has no effect when it comes back through the queue.
FACT_TYPES: Final = frozenset({"notification:created", "notification:updated", "notification:deleted"})

NAMESPACE: Final = UUID("6b1f2f0e-6d5c-5d0e-9c1f-8f6f1d0a7e55")  # of every UUIDv5 made here; never change it


def notification_id(user_id: str, item_id: str) -> str:
    """Return the id of a user's notification for an item: a rebuild gives the same."""
    return str(uuid5(NAMESPACE, json.dumps([user_id, item_id])))


@dataclass(frozen=True, slots=True)
class Event:
    """A validated event. `data` is the JSON text of its `eventData`, exactly as it was received.

    `is_fact` tells a fact, which has its user in its data, from an event that only shares its type.
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
        """The stream of the event store it belongs to."""
        return f"{self.item_type}#{self.item_id}"

    @property
    def sk(self) -> str:
        """Its place in the stream."""
        return f"{self.occurred_at}#{self.id}"

    @property
    def key(self) -> EventKey:
        """Its identity in the event store: stream and place."""
        return self.pk, self.sk

    @property
    def rank(self) -> Rank:
        """What decides between the events of a user's item: the greatest does, as `apply_events()` has it."""
        return self.occurred_at, self.effect == "delete", self.id, self.pk

    @property
    def effect(self) -> Effect | None:
        """What it does to a notification."""
        return KNOWN_TYPES.get(self.event_type)
