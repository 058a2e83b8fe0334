"""Events as items of the event store (docs/data.md): the only module that knows the names of its attributes."""

import gzip
import zlib
from collections.abc import Mapping
from typing import Any, Final

from event_service.codec.instants import Instant, epoch_seconds, parse_instant_or_none
from event_service.codec.json_text import parse_object, raw_members, same_value, string_value
from event_service.domain.event import FACT_TYPES, Event, EventKey
from event_service.domain.facts import same_fact_data
from event_service.domain.state import StoredEvent
from event_service.errors import Rejected

Item = Mapping[str, Any]  # attribute name -> typed value: {"S": text}, {"B": bytes} or {"N": digits}

PK: Final = "pk"
SK: Final = "sk"
ID: Final = "id"
EVENT_TYPE: Final = "eventType"
USER_ID: Final = "userId"
USER_EMAIL: Final = "userEmail"
OCCURRED_AT: Final = "occurredAt"
RECORDED_AT: Final = "recordedAt"
CAUSATION_ID: Final = "causationId"
EVENT_DATA: Final = "eventData"
EVENT_DATA_ENCODING: Final = "eventDataEncoding"
EXPIRES_AT: Final = "expiresAt"  # the table's TTL attribute, in epoch seconds
FORGOTTEN_AT: Final = "forgottenAt"  # set by an erasure
BY_USER: Final = "by-user"  # the index by USER_ID and SK
# What `event_of` reads.
EVENT_ATTRIBUTES: Final = (
    PK,
    SK,
    ID,
    EVENT_TYPE,
    USER_ID,
    USER_EMAIL,
    OCCURRED_AT,
    CAUSATION_ID,
    EVENT_DATA,
    EVENT_DATA_ENCODING,
)

# Raised when reading an item that we did not write, or that is damaged.
ITEM_ERRORS: Final = (KeyError, TypeError, OSError, EOFError, ValueError, RecursionError, zlib.error)
# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html#limits-items
MAX_ITEM_BYTES: Final = 400 * 1024
# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html#limits-partition-sort-keys
MAX_KEY_BYTES: Final = (2048, 1024)  # of PK and SK
# https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchGetItem.html
MAX_KEYS_PER_REQUEST: Final = 100
# A fact is about 1 KB, and a write unit is 1 KB: above this size, compressing keeps it within one unit.
_COMPRESS_ABOVE_BYTES: Final = 600
_SECONDS_PER_DAY: Final = 86_400


class UnreadableItem(Exception):
    """An item of the event store does not contain a readable event; the message names its key."""


def key_of(pk: str, sk: str) -> dict[str, Any]:
    """Return the primary key of an item."""
    return {PK: {"S": pk}, SK: {"S": sk}}


def event_key(item: Item) -> EventKey:
    """Return the key of the event in an item."""
    return item[PK]["S"], item[SK]["S"]


def to_item(event: Event, recorded_at: Instant, retention_days: int = 0) -> Item:
    """Return the item that stores an event; `retention_days` 0 keeps it forever."""
    texts = {
        PK: event.pk,
        SK: event.sk,
        ID: event.id,
        EVENT_TYPE: event.event_type,
        # A fact's data holds its user; without the attribute, the fact costs nothing in the index.
        USER_ID: None if event.is_fact else event.user_id,
        USER_EMAIL: event.user_email,
        OCCURRED_AT: event.occurred_at,
        RECORDED_AT: recorded_at,
        CAUSATION_ID: event.causation_id,
    }
    item: dict[str, Any] = {name: {"S": text} for name, text in texts.items() if text is not None}
    if retention_days:
        item[EXPIRES_AT] = {"N": str(epoch_seconds(recorded_at) + retention_days * _SECONDS_PER_DAY)}
    return item | data_attributes(event.data)


def data_attributes(data: str) -> dict[str, Any]:
    """Return the attributes that hold an event's `eventData`, compressed if that is smaller."""
    raw = data.encode()
    if len(raw) > _COMPRESS_ABOVE_BYTES:
        compressed = gzip.compress(raw, compresslevel=6, mtime=0)
        if len(compressed) < len(raw):
            return {EVENT_DATA: {"B": compressed}, EVENT_DATA_ENCODING: {"S": "gzip"}}
    return {EVENT_DATA: {"S": data}}


def data_of(item: Item) -> str:
    """Return the `eventData` of an item as the JSON text that was stored, or raise one of `ITEM_ERRORS`."""
    value = item[EVENT_DATA]
    return gzip.decompress(value["B"]).decode() if EVENT_DATA_ENCODING in item else str(value["S"])


def is_fact(item: Item) -> bool:
    """Tell whether an item holds one of the service's own facts: they have no user attribute."""
    return item.get(EVENT_TYPE, {}).get("S") in FACT_TYPES and USER_ID not in item


def is_forgotten(item: Item) -> bool:
    """Tell whether an erasure has emptied an item."""
    return FORGOTTEN_AT in item


def text_of(item: Item, name: str) -> str | None:
    """Return a text attribute; None if the item does not have it."""
    value = item.get(name, {}).get("S")
    return None if value is None else str(value)


def event_of(item: Item) -> Event:
    """Return the event in an item, which must not be a fact.

    Raises:
        Rejected: the service would not have stored it like this; `field` is the attribute at fault.

    """
    item_type, _, item_id = _required(item, PK).partition("#")
    try:
        data = data_of(item)
    except ITEM_ERRORS as exc:
        raise Rejected("invalid_field", "is missing or cannot be read", EVENT_DATA) from exc
    parse_object(data, EVENT_DATA, (EVENT_DATA,))
    event = Event(
        id=_required(item, ID),
        occurred_at=Instant(_required(item, OCCURRED_AT)),
        event_type=_required(item, EVENT_TYPE),
        item_type=item_type,
        item_id=item_id,
        user_id=_required(item, USER_ID),
        user_email=text_of(item, USER_EMAIL),
        causation_id=text_of(item, CAUSATION_ID),
        data=data,
    )
    if parse_instant_or_none(event.occurred_at) != event.occurred_at:
        raise Rejected("invalid_field", "is not an instant as the service writes it", OCCURRED_AT)
    if ":" in event.event_type and event.event_type.partition(":")[0] != item_type:
        raise Rejected("invalid_field", "does not agree with the item's key", EVENT_TYPE)
    if event.sk != _required(item, SK):
        raise Rejected("invalid_field", "together with occurredAt does not agree with the item's key", ID)
    return event


def stored_event(item: Item) -> StoredEvent:
    """Return the event or fact in an item; the user of a fact is in its data only.

    Raises:
        UnreadableItem: the item is damaged or was not written by this service.

    """
    try:
        item_type, _, item_id = item[PK]["S"].partition("#")
        data = data_of(item)
        return StoredEvent(
            id=item[ID]["S"],
            occurred_at=Instant(item[OCCURRED_AT]["S"]),
            event_type=item[EVENT_TYPE]["S"],
            item_type=item_type,
            item_id=item_id,
            user_id=text_of(item, USER_ID) or string_value(raw_members(data)["userId"]) or "",
            user_email=text_of(item, USER_EMAIL),
            causation_id=text_of(item, CAUSATION_ID),
            data=data,
            is_fact=is_fact(item),
            recorded_at=item[RECORDED_AT]["S"],
        )
    except ITEM_ERRORS as exc:
        key = f"{text_of(item, PK)} {text_of(item, SK)}"
        raise UnreadableItem(f"the event store's item {key} cannot be read") from exc


def _required(item: Item, name: str) -> str:
    text = text_of(item, name)
    if text is None:
        raise Rejected("invalid_field", "is missing or not a text", name)
    return text


def differing_fields(event: Event, item: Item) -> list[str]:
    """Return the names of the fields in which an event differs from the stored event with the same key.

    Raises one of `ITEM_ERRORS` if the item cannot be read.
    """
    returned = is_fact(item) and event.event_type in FACT_TYPES  # a fact that came back through the queue
    payload = {EVENT_TYPE: event.event_type, CAUSATION_ID: event.causation_id}
    payload |= {} if returned else {USER_ID: event.user_id, USER_EMAIL: event.user_email}
    same_data = same_fact_data if returned else same_value
    names = [name for name, value in payload.items() if text_of(item, name) != value]
    return names if same_data(data_of(item), event.data) else [*names, EVENT_DATA]


def rough_size_of(item: Item) -> int:
    """Return the length of the values that may be long, in characters or bytes: cheaper than `size_of`."""
    unlimited = (item.get(name, {}) for name in (EVENT_DATA, USER_EMAIL, CAUSATION_ID))
    return sum(len(value) for typed in unlimited for value in typed.values())


def size_of(item: Item) -> int:
    """Return the bytes that an item counts for: names and values.

    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html
    """
    return sum(len(name) + sum(_bytes(value) for value in typed.values()) for name, typed in item.items())


def _bytes(value: str | bytes) -> int:
    return len(value if isinstance(value, bytes) else value.encode())
