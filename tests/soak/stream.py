"""The events of a soak, and what has to be there when all of them are through."""

import json
import random
from dataclasses import dataclass, field
from typing import Any

from tests.unit.messages import native, raw

_TYPES = [
    "reminder:created",
    "reminder:updated",
    "reminder:updated",
    "reminder:deleted",
    "notification:update",
    "order:placed",
]
REFUSED_ITEM = "refused"  # PostgreSQL takes no row of it
_BAD_SHARE = 0.002
_REFUSED_SHARE = 0.004
_REPEATED_SHARE = 0.05


@dataclass
class Stream:
    """What was sent so far: events by their id, the number of repeated deliveries.

    And the message ids that end in the dead-letter queue: of records that are no events (`bad`), and of events whose
    row PostgreSQL refuses (`refused`).
    """

    rng: random.Random
    events: dict[str, dict[str, Any]] = field(default_factory=dict)
    repeated: int = 0
    bad: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    _records: int = 0
    _last: dict[str, Any] | None = None

    def next_record(self) -> dict[str, Any]:
        """Return the next record: an event, now and then one that was sent before, or one that is no event."""
        self._records += 1
        message_id = f"message-{self._records}"
        choice = self.rng.random()
        if choice < _BAD_SHARE:
            self.bad.add(message_id)
            return raw("{") | {"messageId": message_id}
        if choice < _BAD_SHARE + _REPEATED_SHARE and self._last is not None:
            self.repeated += 1
            return self._last | {"messageId": message_id}
        number = len(self.events)
        is_refused = self.rng.random() < _REFUSED_SHARE
        event = native(
            id=f"event-{number}",
            eventType="reminder:updated" if is_refused else self.rng.choice(_TYPES),
            userId=f"user-{self.rng.randrange(20)}",
            itemId=REFUSED_ITEM if is_refused else f"item-{self.rng.randrange(max(50, number // 5))}",
            # Out of order by up to a minute, some at the very same instant.
            occurredAt=f"2026-11-23T{number // 3600 % 24:02}:{self.rng.randrange(60):02}:{self.rng.randrange(60):02}Z",
            eventData={"date": "2027-01-01T08:00:00Z", "message": f"message {number}", "n": number},
        )
        self.events[event["id"]] = event
        record = raw(json.dumps(event), None)
        if is_refused:
            self.refused.add(message_id)
        else:
            self._last = record
        return record | {"messageId": message_id}

    def deciding(self) -> dict[tuple[str, str], tuple[str, bool, str]]:
        """Return by user and item the id of the deciding event, whether it deletes, and the earliest instant."""
        notifications: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for event in self.events.values():
            if not event["eventType"].startswith("order:") and event["itemId"] != REFUSED_ITEM:
                notifications.setdefault((event["userId"], event["itemId"]), []).append(event)
        return {key: _decide(events) for key, events in notifications.items()}


def _decide(events: list[dict[str, Any]]) -> tuple[str, bool, str]:
    def version(event: dict[str, Any]) -> tuple[str, bool, str, str]:
        return event["occurredAt"], _deletes(event), event["id"], event["eventType"].partition(":")[0]

    last = max(events, key=version)
    return last["id"], _deletes(last), min(event["occurredAt"] for event in events)


def _deletes(event: dict[str, Any]) -> bool:
    return bool(event["eventType"] == "reminder:deleted")
