"""What an item's events tell: its state at an instant, and what one event or a stretch of time changed."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from event_service.codec.json_text import compose_object, dumps, same_value, texts_of
from event_service.domain.event import FACT_TYPES, KNOWN_TYPES, Effect
from event_service.domain.facts import stream_of_cause

_EFFECTS: Final[dict[str, Effect]] = {
    **KNOWN_TYPES,
    **{name: "delete" if name.endswith(":deleted") else "upsert" for name in FACT_TYPES},
}
_ITEM_TYPES: Final = frozenset(name.partition(":")[0] for name in _EFFECTS)
_DELETIONS: Final = ("deleted", "delete")  # by their verb, of item types that the service does not know


@dataclass(frozen=True, slots=True)
class Record:
    """An event as it was recorded. `data` is the JSON text of its `eventData`, exactly as it was received."""

    pk: str
    sk: str
    id: str
    event_type: str
    user_id: str
    user_email: str | None
    occurred_at: str
    recorded_at: str
    causation_id: str | None
    data: str

    @property
    def effect(self) -> Effect | None:
        """What it does to its item. Of an item type that the service does not know, it knows the deletions only."""
        if self.has_known_item:
            return _EFFECTS.get(self.event_type)
        return "delete" if self.event_type.partition(":")[2] in _DELETIONS else None

    @property
    def has_known_item(self) -> bool:
        """Whether it is of an item type of which some events have an effect."""
        return self.event_type.partition(":")[0] in _ITEM_TYPES

    def to_json(self) -> str:
        """Return it as the text of a JSON object, `eventData` as it was stored."""
        item_type, _, item_id = self.pk.partition("#")
        fields = {
            "id": self.id,
            "eventType": self.event_type,
            "itemType": item_type,
            "itemId": item_id,
            "userId": self.user_id,
            "userEmail": self.user_email,
            "occurredAt": self.occurred_at,
            "recordedAt": self.recorded_at,
            "causationId": self.causation_id,
        }
        return compose_object({name: dumps(value) for name, value in fields.items()} | {"eventData": self.data})


@dataclass(frozen=True, slots=True)
class FieldChange:
    """A field of `eventData`, or `userEmail`, and the JSON texts of its values; None where it is absent."""

    field: str
    old: str | None
    new: str | None

    def to_json(self) -> str:
        """Return it as the text of a JSON object; a value that is absent is left out."""
        values = {"old": self.old, "new": self.new}
        return compose_object(
            {"field": dumps(self.field), **{name: text for name, text in values.items() if text is not None}}
        )


def deciding(newest_first: Iterable[Record], user_id: str | None = None) -> Record | None:
    """Return the event that made the state of an item, for one user or for the user of that event.

    `newest_first` is the stream of one item up to the instant that is asked about. Of the events with an effect the one
    with the greatest `occurredAt` decides; at the same instant a deletion wins, then the greatest id, then the greatest
    stream: the rule of `apply_events()`. An item of a type that the service does not know is as its last event says.
    None: it has no state yet.
    """
    last: Record | None = None
    best: Record | None = None
    for record in newest_first:
        bound = best or last
        if bound is not None and record.occurred_at < bound.occurred_at:
            break
        if user_id is not None and record.user_id != user_id:
            continue
        if not record.has_known_item:
            last = last or record
        if record.effect is not None:
            best = max(best or record, record, key=_rank)
    return best or last


def _rank(record: Record) -> tuple[bool, str, str]:
    """Return what decides between events of one instant; facts follow those that caused them, as their row did."""
    event_id, pk = record.id, record.pk
    if record.event_type in FACT_TYPES:
        event_id, pk = record.causation_id or record.id, stream_of_cause(record.data)
    return record.effect == "delete", event_id, pk


def differences(old: Record | None, new: Record | None) -> list[FieldChange]:
    """Return what differs between what two events say, field by field; a deletion, or None, says nothing."""
    before, after = _fields(old), _fields(new)
    return [
        FieldChange(name, before.get(name), after.get(name))
        for name in {**before, **after}
        if name not in before or name not in after or not same_value(before[name], after[name])
    ]


def _fields(record: Record | None) -> dict[str, str]:
    if record is None or record.effect == "delete":
        return {}
    email = {} if record.user_email is None else {"userEmail": dumps(record.user_email)}
    return texts_of(record.data) | email


def with_changes(records: Iterable[Record]) -> Iterator[tuple[Record, list[FieldChange]]]:
    """Yield an item's events, in order, each with what it changed for its user.

    It is compared with the event that made the state before it; one that makes no state, with the one of its type.
    Events of one instant are in the order in which they decide, a deletion last. What is kept is one event for each
    user and such type, and the events of an instant, whatever the number of events.
    """
    previous: dict[tuple[str, str], Record] = {}
    for _, at_once in groupby(records, key=lambda record: record.occurred_at):
        for record in sorted(at_once, key=_rank):
            makes_state = record.effect is not None or not record.has_known_item
            key = (record.user_id, "" if makes_state else record.event_type)
            yield record, differences(previous.get(key), record)
            previous[key] = record


def story(
    records: Iterable[Record], user_id: str | None = None, start: str | None = None
) -> Iterator[tuple[Record, list[FieldChange]]]:
    """Yield an item's events at an instant or later, of one user or of all, each with what it changed (`with_changes`).

    `records` are all of them, from the beginning: the first at the instant is compared with the one before it.
    """
    mine = (record for record in records if user_id in (None, record.user_id))
    return (pair for pair in with_changes(mine) if pair[0].occurred_at >= (start or ""))
