"""The formats of incoming events, each read into the canonical event: legacy, native and CloudEvents."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal
from uuid import uuid5

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from event_service.codec.instants import Instant, parse_instant, parse_instant_or_none
from event_service.codec.json_text import check_depth, raw_members
from event_service.domain.envelope import Envelope
from event_service.domain.event import FACT_TYPES, KNOWN_TYPES, NAMESPACE, Event, notification_id, subject_of
from event_service.errors import Rejected

_MAX_ID_BYTES: Final = 900  # with the instant before it, an id has to fit a DynamoDB sort key of 1,024 bytes
_MAX_AHEAD_MILLISECONDS: Final = 24 * 60 * 60 * 1000
_EPOCH: Final = "1970"  # an `updatedAt` before it comes from a clock that was never set


def _instant_text(text: str) -> str:
    return parse_instant(text)


def _short_enough(text: str) -> str:
    if len(text.encode()) > _MAX_ID_BYTES:
        raise ValueError(f"has more than {_MAX_ID_BYTES} bytes of UTF-8")
    return text


EventId = Annotated[str, Field(min_length=1, max_length=256), AfterValidator(_short_enough)]
EventType = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9._:/-]*$", max_length=128)]
ItemType = Annotated[str, Field(pattern=r"^[a-z][a-z0-9._-]*$", max_length=64)]
Identifier = Annotated[str, Field(min_length=1, max_length=256)]
NonEmpty = Annotated[str, Field(min_length=1)]
InstantText = Annotated[str, AfterValidator(_instant_text), Field(json_schema_extra={"format": "date-time"})]
_EVENT_ID: TypeAdapter[str] = TypeAdapter(EventId)
_ITEM_TYPE: TypeAdapter[str] = TypeAdapter(ItemType)


class _Model(BaseModel):
    # Defaults are not validated: an empty default marks an absent field, and an empty value is still rejected.
    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


class PlainEvent(_Model):
    """The legacy and the native format, with the message attributes merged in."""

    userId: Identifier
    userEmail: str | None = None
    itemId: Identifier
    eventData: dict[str, Any]
    eventType: EventType
    itemType: ItemType = ""
    id: EventId = ""
    occurredAt: InstantText = ""
    causationId: str | None = None


class CloudEventData(_Model):
    """The `data` of a CloudEvent."""

    userId: Identifier
    userEmail: str | None = None
    eventData: dict[str, Any]


class CloudEvent(_Model):
    """CloudEvents 1.0, structured JSON: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md."""

    specversion: Literal["1.0"]
    id: NonEmpty
    source: NonEmpty
    type: EventType
    time: InstantText
    subject: Identifier
    data: CloudEventData
    itemtype: ItemType = ""
    causationid: str | None = None


def read_event(envelope: Envelope) -> Event:
    """Return the canonical event in an opened envelope.

    Raises:
        Rejected: a field is missing, empty or ill-typed; `field` is the path of the first, the text names all of them.

    """
    try:
        event = _read_cloud_event(envelope) if "specversion" in envelope.values else _read_plain_event(envelope)
    except ValidationError as exc:
        raise _rejection(exc) from exc
    if not event.is_fact:
        check_depth(envelope.text, envelope.name)
    return event


def _read_plain_event(envelope: Envelope) -> Event:
    attributes = {"eventType": "eventType", "eventItemType": "itemType"}
    fields = {field: envelope.attributes[name] for name, field in attributes.items() if name in envelope.attributes}
    fields |= {name: envelope.values[name] for name in PlainEvent.model_fields if name in envelope.values}
    plain = PlainEvent.model_validate(fields)
    if plain.id and not plain.occurredAt:
        raise Rejected("invalid_field", "is missing: an event with its own id needs its own time", "occurredAt")
    return _canonical(
        envelope,
        id=plain.id or _envelope_id(envelope, plain.eventType),
        own_time=Instant(plain.occurredAt),
        event_type=plain.eventType,
        item_type=plain.itemType,
        item_id=plain.itemId,
        user_id=plain.userId,
        user_email=plain.userEmail,
        causation_id=plain.causationId,
        data=raw_members(envelope.text)["eventData"],
        values=plain.eventData,
    )


def _read_cloud_event(envelope: Envelope) -> Event:
    cloud = CloudEvent.model_validate(envelope.values)
    return _canonical(
        envelope,
        id=_EVENT_ID.validate_python(f"{cloud.source} {cloud.id}"),
        own_time=Instant(cloud.time),
        event_type=cloud.type,
        item_type=cloud.itemtype or envelope.attributes.get("eventItemType", ""),
        item_id=cloud.subject,
        user_id=cloud.data.userId,
        user_email=cloud.data.userEmail,
        causation_id=cloud.causationid,
        data=raw_members(raw_members(envelope.text)["data"])["eventData"],
        values=cloud.data.eventData,
    )


def _canonical(
    envelope: Envelope,
    *,
    own_time: Instant,
    event_type: str,
    item_type: str,
    user_id: str,
    values: Mapping[str, Any],
    **fields: Any,
) -> Event:
    """Apply the rules that all formats share: the item type and the time of the event."""
    if own_time and (latest := envelope.sent_at(later_milliseconds=_MAX_AHEAD_MILLISECONDS)) and own_time > latest:
        raise Rejected("invalid_field", "is more than 24 hours after the record was sent", "occurredAt")
    return Event(
        occurred_at=own_time or _occurred_at(event_type, values.get("updatedAt"), envelope),
        event_type=event_type,
        item_type=_item_type(event_type, item_type),
        user_id=user_id,
        is_fact=event_type in FACT_TYPES and _is_about_a_notification(fields["item_id"], user_id, values),
        **fields,
    )


def _item_type(event_type: str, item_type: str) -> str:
    prefix, colon, _ = event_type.partition(":")
    if not colon:
        if not item_type:
            raise Rejected("invalid_field", "is missing, and eventType does not begin with one", "itemType")
        return item_type
    if item_type not in ("", prefix):
        raise Rejected("invalid_field", "does not agree with the prefix of eventType", "itemType")
    try:
        return _ITEM_TYPE.validate_python(prefix)
    except ValidationError as exc:
        raise Rejected("invalid_field", "the prefix of eventType is not an item type", "itemType") from exc


def _is_about_a_notification(item_id: str, user_id: str, values: Mapping[str, Any]) -> bool:
    """Tell whether data is that of one of the service's notifications: other producers may use the types of facts."""
    item, item_type = values.get("itemId"), values.get("itemType")
    return (
        isinstance(item, str)
        and isinstance(item_type, str)
        and values.get("userId") == user_id
        and item_id == notification_id(user_id, subject_of(item_type), item)
    )


def _occurred_at(event_type: str, updated_at: Any, envelope: Envelope) -> Instant:
    """Return the time of an event that does not say when it occurred.

    The producer's clock counts for known types, but an event cannot happen after it was published. The data of a
    deletion is older than the deletion.
    """
    known = KNOWN_TYPES.get(event_type)
    produced_at = parse_instant_or_none(updated_at) if known and known.effect != "delete" else None
    if produced_at is None or produced_at < _EPOCH:
        return envelope.published_at()
    return min(produced_at, envelope.published_at_or_none() or produced_at)


def _envelope_id(envelope: Envelope, event_type: str) -> str:
    if envelope.message_id is not None:
        return _EVENT_ID.validate_python(envelope.message_id)
    # Not the SQS message id: a redrive from the dead-letter queue gives the message a new one.
    return str(uuid5(NAMESPACE, f"{event_type}\n{envelope.text}"))


def _rejection(exc: ValidationError) -> Rejected:
    """Name every field at fault, and never its value."""
    (path, message), *others = problems_of(exc)
    return Rejected("invalid_field", message + "".join(f"; {path}: {message}" for path, message in others), path)


def problems_of(exc: ValidationError) -> list[tuple[str, str]]:
    """Return path and message of every field at fault."""
    problems = exc.errors(include_url=False, include_context=False, include_input=False)
    return [
        (".".join(map(str, problem["loc"])) or "id", problem["msg"].removeprefix("Value error, "))
        for problem in problems
    ]
