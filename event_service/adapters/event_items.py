"""Events as the items of the event store."""

import gzip
import zlib
from collections.abc import Mapping
from typing import Any, Final

from event_service.codec.instants import Instant, epoch_seconds
from event_service.codec.json_text import same_value
from event_service.domain.event import FACT_TYPES, Event, Rank
from event_service.domain.facts import (
    MAX_MESSAGE_BYTES,
    Change,
    fact_of,
    message_of,
    rank_of_cause,
    same_fact_data,
    stream_of_cause,
)
from event_service.errors import Rejected

# What an item of another writer, or of a damaged table, may cost whoever reads it.
UNREADABLE: Final = (KeyError, OSError, EOFError, ValueError, RecursionError, zlib.error)

Item = Mapping[str, Any]  # attribute name -> typed value, {"S": text}, {"B": bytes} or {"N": digits}

# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html#limits-items
MAX_ITEM_BYTES: Final = 400 * 1024
# A fact is about 1 KB, and a write unit is 1 KB: above this, compressing keeps it in one.
_COMPRESS_ABOVE_BYTES: Final = 600
_SECONDS_PER_DAY: Final = 86_400
# Fits whatever its fact adds: below this, sizes need not be worked out.
_CERTAINLY_FITS_BYTES: Final = 64 * 1024


def to_item(event: Event, recorded_at: Instant, retention_days: int = 0) -> Item:
    """Return the item of an event; docs/data.md describes its attributes."""
    texts = {
        "pk": event.pk,
        "sk": event.sk,
        "id": event.id,
        "eventType": event.event_type,
        # A fact's eventData has the user; without the attribute it costs nothing in the index `by-user`.
        "userId": None if event.is_fact else event.user_id,
        "userEmail": event.user_email,
        "occurredAt": event.occurred_at,
        "recordedAt": recorded_at,
        "causationId": event.causation_id,
    }
    item: dict[str, Any] = {name: {"S": text} for name, text in texts.items() if text is not None}
    if retention_days:
        item["expiresAt"] = {"N": str(epoch_seconds(recorded_at) + retention_days * _SECONDS_PER_DAY)}
    return item | data_attributes(event.data)


def data_attributes(data: str) -> dict[str, Any]:
    """Return the attributes that hold an event's `eventData`, compressed where that is smaller."""
    raw = data.encode()
    if len(raw) > _COMPRESS_ABOVE_BYTES:
        compressed = gzip.compress(raw, compresslevel=6, mtime=0)
        if len(compressed) < len(raw):
            return {"eventData": {"B": compressed}, "eventDataEncoding": {"S": "gzip"}}
    return {"eventData": {"S": data}}


def data_of(item: Item) -> str:
    """Return the `eventData` of an item as the JSON text that was stored, or raise one of `UNREADABLE`."""
    value = item["eventData"]
    return gzip.decompress(value["B"]).decode() if "eventDataEncoding" in item else str(value["S"])


def rank_of_fact(item: Item) -> Rank:
    """Return the rank of the event that caused the fact of an item, or raise one of `UNREADABLE`."""
    _, _, change = item["eventType"]["S"].partition(":")
    sk = f"{item['occurredAt']['S']}#{item['causationId']['S']}"
    return rank_of_cause(stream_of_cause(data_of(item)), sk, change)


def same_payload(event: Event, item: Item) -> bool:
    """Tell whether an event says what the item of the same key says: type, user, cause and data."""
    fact = event.event_type in FACT_TYPES and "userId" not in item
    payload = {"eventType": event.event_type, "causationId": event.causation_id}
    if not fact:
        payload |= {"userId": event.user_id, "userEmail": event.user_email}
    same_data = same_fact_data if fact else same_value
    return all(_text(item, name) == value for name, value in payload.items()) and same_data(data_of(item), event.data)


def _text(item: Item, name: str) -> str | None:
    return item[name]["S"] if name in item else None


def size_of(item: Item) -> int:
    """Return the bytes an item counts for: names and values.

    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html
    """
    return sum(len(name) + sum(_bytes(value) for value in typed.values()) for name, typed in item.items())


def _bytes(value: str | bytes) -> int:
    return len(value if isinstance(value, bytes) else value.encode())


def check_size(event: Event, notification: str | None) -> None:
    """Check that an event fits into the event store, and so does its fact, and that the fact can be published.

    `notification` is what the event makes of one, see `projection.project`; None where it has no effect.

    Raises:
        Rejected: one of them does not fit.

    """
    texts = (notification or "", event.data, event.user_email or "", event.causation_id or "")
    if sum(map(len, texts)) * 4 < _CERTAINLY_FITS_BYTES:  # a character has at most 4 bytes of UTF-8
        return
    _check_item(event)
    if notification is not None:
        # The instant and the kind of change are not known yet, but as wide as these.
        created_at = f',"createdAt":"{event.occurred_at}"}}'
        change = Change(
            event.pk,
            event.sk,
            "created",
            "-" * 36,
            event.user_id,
            event.user_email,
            notification[:-1] + created_at,
        )
        fact = fact_of(change)
        _check_item(fact)
        if message_of(fact).size > MAX_MESSAGE_BYTES:
            raise Rejected("too_large", "is too large for a fact to be published", "userEmail")


def _check_item(event: Event) -> None:
    item = to_item(event, event.occurred_at, retention_days=1)
    if size_of(item) > MAX_ITEM_BYTES - 64:  # compressed, other digits may take a few bytes more
        texts = {"eventData": event.data, "userEmail": event.user_email, "causationId": event.causation_id}
        largest = max(texts, key=lambda name: len(texts[name] or ""))
        raise Rejected("too_large", f"does not fit into an item of {MAX_ITEM_BYTES} bytes even compressed", largest)
