"""The parameters and responses of the read API, as its OpenAPI document describes them."""

from typing import Annotated, Any, Literal
from urllib.parse import unquote

from aws_lambda_powertools.event_handler.openapi.params import Path, Query
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from event_service.codec.instants import parse_instant
from event_service.domain import formats


class ApiModel(BaseModel):
    """Documents a response; the responses themselves are composed from stored JSON texts."""

    model_config = ConfigDict(use_attribute_docstrings=True)


class StoredEvent(ApiModel):
    """An event as it is stored, with links to its cause and its facts. Paths are relative to the API's address."""

    id: str
    eventType: str
    itemType: str
    itemId: str
    userId: str
    userEmail: str | None
    occurredAt: str
    """In UTC, with microseconds."""
    recordedAt: str
    """When the service first stored the event."""
    causationId: str | None
    """The id of the event that caused this one, if it has one; every fact does."""
    causationPath: str | None
    """For a fact, the path of the event that caused it."""
    factIds: list[str]
    """The ids of the stored facts that this event caused."""
    factPaths: list[str]
    """The paths of these facts, in the same order."""
    eventData: dict[str, Any]
    """Exactly as received, to the last digit."""


class EventPage(ApiModel):
    """Events in the order in which they occurred."""

    events: list[StoredEvent]
    next: str | None
    """The `cursor` of the next page; null on the last page. A page may have fewer events than `limit`."""


class ItemState(ApiModel):
    """The state of one user's item at an instant."""

    itemType: str
    itemId: str
    userId: str
    at: str | None
    state: Literal["existing", "deleted"]
    since: str
    """When the deciding event occurred; for a deleted item, when it was deleted."""
    event: StoredEvent
    """The event that decides the state."""


class ChangedField(ApiModel):
    """A changed field of `eventData`; `old` or `new` is absent if the item did not have the field."""

    field: str
    old: Any = None
    new: Any = None


class ItemChanges(ApiModel):
    """What differs between an item's states at two instants; `old` is null if the item had no state yet."""

    old: ItemState | None
    new: ItemState
    changes: list[ChangedField]


class Example(ApiModel):
    """A message, and the attributes it is published with."""

    name: str
    headers: dict[str, str]
    payload: dict[str, Any]


class KnownType(ApiModel):
    """A type that the service knows."""

    name: str
    direction: Literal["in", "out"]
    """`in`: the service receives it; `out`: a fact, which the service publishes."""
    effect: Literal["create", "update", "delete"] | None
    """The effect on the user's notification; `create` and `update` both create or replace it. Null for a fact."""
    subject: str | None
    """The item type whose notification it concerns; null for a fact."""
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
    return parse_instant(text.replace(" ", "+"))  # a plus sign that was not percent-encoded arrives as a space


# Path parameters arrive percent-encoded. Their rules are those for events.
ItemType = Annotated[formats.ItemType, BeforeValidator(unquote), Path(description="The item's type, such as reminder")]
Identifier = Annotated[formats.Identifier, BeforeValidator(unquote), Path(description="1 to 256 characters")]
Instant = Annotated[str, AfterValidator(_instant), Field(json_schema_extra={"format": "date-time"})]
At = Annotated[Instant | None, Query(description="An RFC 3339 date-time with any offset; the latest state if absent")]
From = Annotated[Instant | None, Query(alias="from", description="Only events at this instant or later")]
To = Annotated[Instant | None, Query(description="Only events before this instant")]
Limit = Annotated[int, Query(ge=1, le=1000, description="The maximum number of events in the response")]
Cursor = Annotated[str | None, Query(description="`next` of the previous page")]
UserId = Annotated[
    formats.Identifier | None, Query(description="Whose item it is; if absent, that of the user of the deciding event")
]
OnlyUserId = Annotated[
    formats.Identifier | None, Query(description="Only the events of this user; of all users if absent")
]
