"""The events of a soak, and what must have become of them in the end."""

import random
from dataclasses import dataclass, field

from tests.soak.timeliness import Timeliness
from tests.support.messages import Record, native, raw, text
from tests.support.oracle import Event, Key, Row, modelled

_TYPES = [
    "reminder:created",
    "reminder:updated",
    "reminder:updated",
    "reminder:deleted",
    "notification:update",
    "order:placed",
]
REFUSED_ITEM = "refused"  # PostgreSQL refuses its rows
_BAD_SHARE = 0.002
_REFUSED_SHARE = 0.004
_REPEATED_SHARE = 0.05
_REMINDER_SHARE = 0.05


@dataclass
class Stream:
    """Everything sent so far: events by their id, and the number of repeated deliveries.

    Also the message ids that end in the dead-letter queue: those of records that are not events (`bad`), and those of
    events whose row PostgreSQL refuses (`refused`).
    """

    rng: random.Random
    events: dict[str, Record] = field(default_factory=dict)
    repeated: int = 0
    bad: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    timeliness: Timeliness = field(default_factory=Timeliness)
    _records: int = 0
    _last: Record | None = None

    def next_record(self) -> Record:
        """Return the next record: an event, now and then one that was sent before, or one that is not an event."""
        self._records += 1
        message_id = f"message-{self._records}"
        choice = self.rng.random()
        if choice < _BAD_SHARE:
            self.bad.add(message_id)
            return raw("{", message_id=message_id)
        if choice < _BAD_SHARE + _REPEATED_SHARE and self._last is not None:
            self.repeated += 1
            return self._last | {"messageId": message_id}
        number = len(self.events)
        if choice > 1 - _REMINDER_SHARE:
            event, record = self.timeliness.reminder(number, self.rng)
            self.events[event["id"]] = event
            return record | {"messageId": message_id}
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
        record = raw(event)
        if is_refused:
            self.refused.add(message_id)
        else:
            self._last = record
        return record | {"messageId": message_id}

    def expected_rows(self) -> dict[Key, Row]:
        """The notifications that the contract makes of all events."""
        applied = [each for each in self.events.values() if each["itemId"] != REFUSED_ITEM]
        return modelled([[_canonical(each) for each in applied]]).rows


def _canonical(event: Record) -> Event:
    return Event(
        id=event["id"],
        occurred_at=event["occurredAt"].replace("Z", ".000000Z"),
        event_type=event["eventType"],
        item_id=event["itemId"],
        user_id=event["userId"],
        data_text=text(event["eventData"]),
        user_email=event["userEmail"],
    )
