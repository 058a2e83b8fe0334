"""What the read API takes and what it answers, as its document shows it."""

import re
from typing import Annotated, Any, Final, Literal
from urllib.parse import unquote

from aws_lambda_powertools.event_handler.openapi.params import Path, Query
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from event_service.codec.instants import parse_instant

_EXAMPLE: Final = "2026-11-23T06:54:06.41Z"
# As in the events themselves (`formats`).
_ITEM_TYPE: Final = re.compile(r"[a-z][a-z0-9._-]{0,63}")
_MAX_IDENTIFIER: Final = 256


class ApiModel(BaseModel):
    """What documents an answer; the answers themselves are composed of stored texts."""

    model_config = ConfigDict(use_attribute_docstrings=True)


class RecordedEvent(ApiModel):
    """An event as it was recorded."""

    id: str
    eventType: str
    itemType: str
    itemId: str
    userId: str
    userEmail: str | None
    occurredAt: str
    """UTC, microseconds."""
    recordedAt: str
    causationId: str | None
    eventData: dict[str, Any]
    """Exactly as it was received, every digit of it."""


class EventPage(ApiModel):
    """Events in the order in which they occurred."""

    events: list[RecordedEvent]
    next: str | None
    """The `cursor` for the events that follow; null where none do. A page may have fewer events than `limit`."""


class ItemState(ApiModel):
    """An item as it was for one user at an instant."""

    itemType: str
    itemId: str
    userId: str
    at: str | None
    state: Literal["existing", "deleted"]
    since: str
    """When the deciding event occurred: for a deleted item, when it was deleted."""
    event: RecordedEvent
    """The event that made it so."""


class ChangedField(ApiModel):
    """A field of `eventData`; `old` or `new` is missing where the item did not have the field."""

    field: str
    old: Any = None
    new: Any = None


class ItemChanges(ApiModel):
    """What differs between an item's states at two instants; `old` is null where the item was not known yet."""

    old: ItemState | None
    new: ItemState
    changes: list[ChangedField]


class Example(ApiModel):
    """A message and the attributes it is published with."""

    name: str
    headers: dict[str, str]
    payload: dict[str, Any]


class KnownType(ApiModel):
    """A type that the service knows."""

    name: str
    direction: Literal["in", "out"]
    """`out`: a fact, which the service publishes."""
    effect: Literal["upsert", "delete"] | None
    """On the user's notification for the item."""
    description: str
    eventDataSchema: dict[str, Any]
    """JSON Schema, draft 2020-12."""
    messageSchema: dict[str, Any]
    examples: list[Example]


class EventTypes(ApiModel):
    """The types that the service knows."""

    eventTypes: list[KnownType]


class FieldError(ApiModel):
    """A parameter and what is wrong with it."""

    field: str
    reason: str


class Problem(ApiModel):
    """Problem details, RFC 9457."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[FieldError] = Field(default_factory=list)


def _instant(text: str) -> str:
    return parse_instant(text.replace(" ", "+"))  # a + that was not percent-encoded arrives as a space


def _item_type(text: str) -> str:
    if not _ITEM_TYPE.fullmatch(text := unquote(text)):
        raise ValueError("is no item type: [a-z][a-z0-9._-]*, at most 64 characters")
    return text


def _identifier(text: str) -> str:
    if not 1 <= len(text := unquote(text)) <= _MAX_IDENTIFIER:
        raise ValueError(f"has to have 1 to {_MAX_IDENTIFIER} characters")
    return text


# Of a path's parameters the schemas are about what is meant; it is checked when it has been decoded.
_IDENTIFIER_SCHEMA: Final[dict[str, Any]] = {"minLength": 1, "maxLength": _MAX_IDENTIFIER}

ItemType = Annotated[
    str,
    AfterValidator(_item_type),
    Path(description="The item's type, such as reminder", json_schema_extra={"pattern": f"^{_ITEM_TYPE.pattern}$"}),
]
Identifier = Annotated[
    str, AfterValidator(_identifier), Path(description="1 to 256 characters", json_schema_extra=_IDENTIFIER_SCHEMA)
]
Instant = Annotated[str, AfterValidator(_instant), Field(json_schema_extra={"format": "date-time"})]
_AnyUserId = Annotated[str, Field(min_length=1, max_length=_MAX_IDENTIFIER)]
At = Annotated[Instant | None, Query(description="An RFC 3339 instant of any offset; the last state if absent")]
From = Annotated[Instant | None, Query(alias="from", description="Events at this instant or later")]
To = Annotated[Instant | None, Query(description="Events before this instant")]
Limit = Annotated[int, Query(ge=1, le=1000, description="Events in the answer, at most")]
Cursor = Annotated[str | None, Query(description="`next` of the page before")]
UserId = Annotated[
    _AnyUserId | None, Query(description="Whose item; if absent, that of the user of the deciding event")
]
OnlyUserId = Annotated[_AnyUserId | None, Query(description="Only this user's events; if absent, every user's")]
