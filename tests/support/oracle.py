"""The result that the contract requires for a sequence of events: a model small enough to be checked by reading.

It knows nothing of the service's code. Events are given in canonical form, already valid; batches in the
order of delivery. Expected items, rows and facts are plain values to compare the real ones with.
"""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

COMMANDS = {"notification:create", "notification:update", "notification:delete"}
UPDATES = {"reminder:updated", "notification:update"}
DELETIONS = {"reminder:deleted", "notification:delete"}
KNOWN = COMMANDS | DELETIONS | {"reminder:created", "reminder:updated"}

Key = tuple[str, str]


@dataclass(frozen=True)
class Event:
    """A canonical event; `data_text` is the JSON text of `eventData` as the producer wrote it."""

    id: str
    occurred_at: str
    event_type: str
    item_id: str
    user_id: str
    data_text: str
    user_email: str | None = None
    causation_id: str | None = None

    @property
    def item_type(self) -> str:
        return self.event_type.partition(":")[0]

    @property
    def pk(self) -> str:
        return f"{self.item_type}#{self.item_id}"

    @property
    def sk(self) -> str:
        return f"{self.occurred_at}#{self.id}"

    @property
    def data(self) -> dict[str, Any]:
        value: dict[str, Any] = exact_json(self.data_text)
        return value

    @property
    def known(self) -> bool:
        return self.event_type in KNOWN

    @property
    def deletes(self) -> bool:
        return self.event_type in DELETIONS

    @property
    def precedence(self) -> tuple[str, int, str, str]:
        """The greatest decides: time, kind, id, pk; Python compares strings by code point (§5)."""
        return (self.occurred_at, 2 if self.deletes else self.event_type in UPDATES, self.id, self.pk)


@dataclass
class Row:
    """One notification: its deciding event, the earliest time seen, and whether subscribers believe that it lives."""

    decider: Event
    created_at: str
    told_live: bool = False

    def expected(self) -> dict[str, Any]:
        event = self.decider
        return {
            "user_id": event.user_id,
            "subject_type": "reminder",
            "item_id": event.item_id,
            "user_email": event.user_email,
            "item_type": event.item_type,
            "deliver_at": instant_of(event.data.get("date")),
            "notification_data": notification_data(event),
            "created_at": instant(self.created_at),
            "updated_at": instant(event.occurred_at),
            "deleted_at": instant(event.occurred_at) if event.deletes else None,
        }


@dataclass
class Fact:
    """A change that must have been published: what it says and what caused it."""

    kind: str
    cause: Event
    created_at: str

    def expected(self) -> dict[str, Any]:
        """The message without the ids that only the service can compute."""
        event = self.cause
        deliver_at = instant_of(event.data.get("date"))
        return {
            "eventType": self.kind,
            "itemType": "notification",
            "userId": event.user_id,
            "userEmail": event.user_email,
            "occurredAt": event.occurred_at,
            "causationId": event.id,
            "eventData": {
                "userId": event.user_id,
                "userEmail": event.user_email,
                "itemType": event.item_type,
                "itemId": event.item_id,
                "deliverAt": None if deliver_at is None else text_of(deliver_at),
                "notificationData": notification_data(event),
                "createdAt": self.created_at,
                "updatedAt": event.occurred_at,
            },
        }


@dataclass
class Model:
    """The event store, the notifications and the facts after the batches delivered so far."""

    items: dict[Key, Event] = field(default_factory=dict)
    rows: dict[Key, Row] = field(default_factory=dict)
    facts: list[Fact] = field(default_factory=list)

    def deliver(self, batch: Iterable[Event]) -> None:
        """Append what is new, then apply it oldest first (§4, §5)."""
        new = {(event.pk, event.sk): event for event in batch}
        new = {key: event for key, event in new.items() if key not in self.items}
        self.items |= new
        for event in sorted(new.values(), key=lambda each: each.precedence):
            if event.known:
                self._apply(event)

    def _apply(self, event: Event) -> None:
        row = self.rows.get((event.user_id, event.item_id))
        if row is None:
            row = Row(event, event.occurred_at)
            self.rows[event.user_id, event.item_id] = row
        else:
            row.created_at = min(row.created_at, event.occurred_at)
            if event.precedence < row.decider.precedence:
                return
            row.decider = event
        if event.deletes and not row.told_live:
            return
        verb = "deleted" if event.deletes else "updated" if row.told_live else "created"
        row.told_live = not event.deletes
        self.facts.append(Fact(f"notification:{verb}", event, row.created_at))


def modelled(batches: Iterable[Sequence[Event]]) -> Model:
    model = Model()
    for batch in batches:
        model.deliver(batch)
    return model


def notification_data(event: Event) -> dict[str, Any]:
    """`eventData` enriched as §6 says; without `userEmail` where the event has none (§6 leaves that open)."""
    data: dict[str, Any] = storable(event.data)
    data.pop("userEmail", None)
    if event.user_email is not None:
        data["userEmail"] = event.user_email
    strings = {name: data[name] if isinstance(data.get(name), str) else "" for name in ("message", "url")}
    return data | strings | {"reminderId": event.item_id, "userId": event.user_id}


def storable(value: Any) -> Any:
    """A JSON value with U+FFFD for what PostgreSQL cannot hold in a text: NUL and lone surrogates (§2)."""
    if isinstance(value, dict):
        return {name: storable(member) for name, member in value.items()}
    if isinstance(value, list):
        return [storable(member) for member in value]
    return re.sub("[\\0\ud800-\udfff]", "\ufffd", value) if isinstance(value, str) else value


def exact_json(text: str | bytes) -> Any:
    """The JSON value of a text, no digit lost."""
    return json.loads(text, parse_float=Decimal, parse_int=Decimal)


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def instant_of(value: Any) -> datetime | None:
    """The instant of a usable date; only forms both usable to everyone and readable here are modelled."""
    try:
        return instant(value)
    except (TypeError, ValueError):
        return None


def text_of(when: datetime) -> str:
    """The fixed-width UTC form of §2."""
    return when.strftime("%Y-%m-%dT%H:%M:%S.%fZ").rjust(27, "0")
