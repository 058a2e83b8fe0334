"""What an item's events say: its state at an instant, and what each event changed."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from event_service.codec.json_text import dumps, json_object, raw_members, same_value, string_value
from event_service.domain.event import FACT_TYPES, KNOWN_TYPES, Effect, Event, subject_of
from event_service.domain.precedence import Precedence, precedence_of

# The last word of a type that the service does not know: `parcel:deleted`, `com.example.parcel.deleted`.
_DELETION: Final = re.compile(r"(?:.*[:./])?deleted?", re.DOTALL)
_KNOWN_ITEM_TYPES: Final = frozenset(name.partition(":")[0] for name in [*KNOWN_TYPES, *FACT_TYPES])


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEvent(Event):
    """An event as it is stored; `recorded_at` is when the service first stored it."""

    recorded_at: str

    @property
    def effect(self) -> Effect | None:
        """Its effect on its item; of item types that the service does not know, deletions have one, by name."""
        if not self.has_known_item:
            return "delete" if _DELETION.fullmatch(self.event_type) else None
        return self.known_type.effect if self.known_type else FACT_TYPES.get(self.event_type)

    @property
    def has_known_item(self) -> bool:
        """Whether some event types of its item type have an effect."""
        return self.item_type in _KNOWN_ITEM_TYPES

    def to_json(self, **links: str) -> str:
        """Return the event as JSON, with these further members and with `eventData` as it was stored."""
        fields = {
            "id": self.id,
            "eventType": self.event_type,
            "itemType": self.item_type,
            "itemId": self.item_id,
            "userId": self.user_id,
            "userEmail": self.user_email,
            "occurredAt": self.occurred_at,
            "recordedAt": self.recorded_at,
            "causationId": self.causation_id,
        }
        return json_object({name: dumps(value) for name, value in fields.items()} | links | {"eventData": self.data})


@dataclass(frozen=True, slots=True)
class FieldChange:
    """A changed field of `eventData`, or `userEmail`, with its values as JSON; None where the field is absent."""

    field: str
    old: str | None
    new: str | None

    def to_json(self) -> str:
        """Return the change as JSON; an absent value is left out."""
        values = {"old": self.old, "new": self.new}
        return json_object(
            {"field": dumps(self.field), **{name: text for name, text in values.items() if text is not None}}
        )


def related_item_types(item_type: str) -> list[str]:
    """Return the item types under which the events of an item's notification are stored, its own first.

    A command is stored under `notification#<item id>`, but its subject is the reminder with this id.
    """
    related = {name for name in _KNOWN_ITEM_TYPES if subject_of(name) == subject_of(item_type)}
    return [item_type, *sorted(related - {item_type})]


def concerns(event: StoredEvent, item_type: str) -> bool:
    """Tell whether an event in a related stream (see `related_item_types`) is one of the item's events."""
    return event.item_type == item_type or event.known_type is not None


def state_at(newest_first: Iterable[StoredEvent], user_id: str | None = None) -> StoredEvent | None:
    """Return the event that decides the state of an item, for this user or for the user of the latest event.

    `newest_first` are the item's events up to the instant in question; no more of them are read than needed. Of the
    events with an effect, the one with the highest precedence decides. An item of a type that the service does not know
    has the state of its last event. None if the item has no state yet.
    """
    last: StoredEvent | None = None
    best: StoredEvent | None = None
    for event in newest_first:
        found = best or last
        if found is not None and event.occurred_at < found.occurred_at:
            break
        if user_id is not None and event.user_id != user_id:
            continue
        if not event.has_known_item:
            last = last or event
        if event.effect is not None:
            best = max(best or event, event, key=_precedence)
    return best or last


def _precedence(event: StoredEvent) -> Precedence:
    """Return the precedence of an event; facts follow their causes, as the rows did."""
    event_id, pk = event.id, event.pk
    if event.is_fact:
        event_id, pk = event.causation_id or event.id, cause_pk(event)
    return precedence_of(event.occurred_at, event.effect or "create", event_id, pk)


def cause_pk(fact: StoredEvent) -> str:
    """Return the partition key of the event that caused a fact."""
    notification = raw_members(fact.data)
    return f"{string_value(notification.get('itemType'))}#{string_value(notification.get('itemId'))}"


def differences(old: StoredEvent | None, new: StoredEvent | None) -> list[FieldChange]:
    """Return the fields that differ between two events; a deletion, or None, has no fields."""
    before, after = _fields(old), _fields(new)
    return [
        FieldChange(name, before.get(name), after.get(name))
        for name in {**before, **after}
        if name not in before or name not in after or not same_value(before[name], after[name])
    ]


def _fields(event: StoredEvent | None) -> dict[str, str]:
    if event is None or event.effect == "delete":
        return {}
    email = {} if event.user_email is None else {"userEmail": dumps(event.user_email)}
    return raw_members(event.data) | email


def diffs(events: Iterable[StoredEvent]) -> Iterator[tuple[StoredEvent, list[FieldChange]]]:
    """Yield an item's events, given in order, each with what it changed for its user.

    An event is compared with the one that decided the state before it; an event that does not make a state is compared
    with the last of its type. Events of one instant are ordered by precedence. Memory holds one event for each user and
    such type, and the events of one instant.
    """
    previous: dict[tuple[str, str], StoredEvent] = {}
    for _, same_instant in groupby(events, key=lambda event: event.occurred_at):
        for event in sorted(same_instant, key=_precedence):
            makes_state = event.effect is not None or not event.has_known_item
            key = (event.user_id, "" if makes_state else event.event_type)
            yield event, differences(previous.get(key), event)
            previous[key] = event


def timeline(
    events: Iterable[StoredEvent], user_id: str | None = None, start: str | None = None
) -> Iterator[tuple[StoredEvent, list[FieldChange]]]:
    """Yield an item's events from an instant on, of one user or of all, each with what it changed (see `diffs`).

    `events` are all events of the item in order, because the first one at the instant is compared with its predecessor.
    """
    selected = (event for event in events if user_id in (None, event.user_id))
    return (pair for pair in diffs(selected) if pair[0].occurred_at >= (start or ""))
