"""Spans of time, pages and cursors of the event store's queries."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from typing import Any, Final

from pydantic import TypeAdapter

from event_service.adapters.event_items import MAX_KEY_BYTES, PK, USER_ID, Item, event_key, key_of
from event_service.codec.json_text import dumps
from event_service.domain.state import StoredEvent

_NOT_A_CURSOR: Final = "is not a cursor of this API"
_PARTS: Final = TypeAdapter(tuple[str, str, str, str])  # attribute and value of the query, then the key


class InvalidCursor(ValueError):
    """A cursor does not come from the query that it is used with."""


@dataclass(frozen=True, slots=True)
class Span:
    """The time from `start` (inclusive) to `end` (exclusive unless `includes_end`); an empty side is open."""

    start: str = ""
    end: str = ""
    includes_end: bool = False

    def keys(self) -> tuple[str, str]:
        """Return the lower and the upper bound of the sort keys, which have the form `<instant>#<id>`."""
        if not self.end:
            return self.start or "0", ":"  # the character after "9"
        return self.start or "0", self.end + ("$" if self.includes_end else "")  # "$" is the character after "#"


@dataclass(frozen=True, slots=True)
class Page:
    """Events in order, and the cursor of the next page; None on the last page."""

    events: tuple[StoredEvent, ...]
    cursor: str | None


def encode_cursor(name: str, value: str, key: Item) -> str:
    """Return the cursor for the page after this key in the query of an attribute."""
    parts = [name, value, *event_key(key)]
    return urlsafe_b64encode(dumps(parts).encode()).decode().rstrip("=")


def decode_cursor(cursor: str, name: str, value: str, span: Span) -> dict[str, Any]:
    """Return the key after which the next page starts.

    Raises:
        InvalidCursor: the cursor does not come from a query of this attribute, value and span.

    """
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        name_of, value_of, pk, sk = _PARTS.validate_json(urlsafe_b64decode(padded.encode("ascii")))
    except ValueError as exc:
        raise InvalidCursor(_NOT_A_CURSOR) from exc
    if any(len(text.encode()) > most for text, most in zip((pk, sk), MAX_KEY_BYTES, strict=True)) or not pk:
        raise InvalidCursor(_NOT_A_CURSOR)
    low, high = span.keys()
    if (name_of, value_of) != (name, value) or (name == PK and pk != value) or not low <= sk <= high:
        raise InvalidCursor("belongs to another query")
    key = key_of(pk, sk)
    return key if name == PK else key | {USER_ID: {"S": value}}
