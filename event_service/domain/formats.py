"""The formats events come in, each read into the canonical event: legacy, native and CloudEvents."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal
from uuid import uuid5

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from event_service.codec.instants import Instant, parse_instant, usable_instant
from event_service.codec.json_text import check_depth, texts_of
from event_service.domain.envelope import Envelope
from event_service.domain.event import FACT_TYPES, KNOWN_TYPES, NAMESPACE, Effect, Event, notification_id
from event_service.errors import Rejected

_MAX_ID_BYTES: Final = 900  # with the instant before it, it has to fit a DynamoDB sort key of 1,024 bytes


def _instant_text(text: str) -> str:
    return parse_instant(text)


def _short_enough(text: str) -> str:
    if len(text.encode()) > _MAX_ID_BYTES:
        raise ValueError(f"has more than {_MAX_ID_BYTES} bytes of UTF-8")
    return text


EventId = Annotated[str, Field(min_length=1, max_length=256), AfterValidator(_short_enough)]
_EVENT_ID: TypeAdapter[str] = TypeAdapter(EventId)
EventType = Annotated[str, Field(pattern=r"^[a-z][a-z0-9._-]*:[a-z][a-z0-9._-]*$", max_length=64)]
ItemType = Annotated[str, Field(pattern=r"^[a-z][a-z0-9._-]*$", max_length=64)]
Identifier = Annotated[str, Field(min_length=1, max_length=256)]
NonEmpty = Annotated[str, Field(min_length=1)]
InstantText = Annotated[str, AfterValidator(_instant_text), Field(json_schema_extra={"format": "date-time"})]


class _Model(BaseModel):
    # Defaults are not validated: an empty default marks an absent field, and an empty value is still refused.
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


def read_event(envelope: Envelope) -> Event:
    """Return the canonical event of an opened envelope.

    Raises:
        Rejected: a field is missing, empty or of the wrong type; `field` is the path of the first, the text names
            all.

    """
    try:
        event = _read_cloud_event(envelope) if "specversion" in envelope.values else _read_plain_event(envelope)
    except ValidationError as exc:
        raise _rejection(exc) from exc
    if not event.is_fact:
        check_depth(envelope.text, "body" if envelope.message_id is None else "Message")
    return event


def _read_plain_event(envelope: Envelope) -> Event:
    attributes = {"eventType": "eventType", "eventItemType": "itemType"}
    fields = {field: envelope.attributes[name] for name, field in attributes.items() if name in envelope.attributes}
    fields |= {name: envelope.values[name] for name in PlainEvent.model_fields if name in envelope.values}
    plain = PlainEvent.model_validate(fields)
    if plain.id and not plain.occurredAt:
        raise Rejected(
            "invalid_field",
            "is missing: an event with an id of its own needs a time of its own",
            "occurredAt",
        )
    return _canonical(
        envelope,
        id=plain.id or _envelope_id(envelope, plain.eventType),
        occurred_at=Instant(plain.occurredAt),
        event_type=plain.eventType,
        item_type=plain.itemType,
        item_id=plain.itemId,
        user_id=plain.userId,
        user_email=plain.userEmail,
        causation_id=plain.causationId,
        data=texts_of(envelope.text)["eventData"],
        values=plain.eventData,
    )


def _read_cloud_event(envelope: Envelope) -> Event:
    cloud = CloudEvent.model_validate(envelope.values)
    return _canonical(
        envelope,
        id=_EVENT_ID.validate_python(f"{cloud.source}/{cloud.id}"),
        occurred_at=Instant(cloud.time),
        event_type=cloud.type,
        item_type=cloud.itemtype or envelope.attributes.get("eventItemType", ""),
        item_id=cloud.subject,
        user_id=cloud.data.userId,
        user_email=cloud.data.userEmail,
        causation_id=None,
        data=texts_of(texts_of(envelope.text)["data"])["eventData"],
        values=cloud.data.eventData,
    )


def _canonical(
    envelope: Envelope,
    *,
    occurred_at: Instant,
    event_type: str,
    item_type: str,
    user_id: str,
    values: Mapping[str, Any],
    **fields: Any,
) -> Event:
    """Settle what formats have in common: the item type, and the time of an event that brings none."""
    prefix = event_type.partition(":")[0]
    if item_type not in ("", prefix):
        raise Rejected("invalid_field", "does not agree with the prefix of eventType", "itemType")
    return Event(
        occurred_at=occurred_at or _occurred_at(KNOWN_TYPES.get(event_type), values.get("updatedAt"), envelope),
        event_type=event_type,
        item_type=prefix,
        user_id=user_id,
        is_fact=event_type in FACT_TYPES and _is_of_notification(fields["item_id"], user_id, values),
        **fields,
    )


def _is_of_notification(item_id: str, user_id: str, values: Mapping[str, Any]) -> bool:
    """Tell whether data is that of one of the service's notifications; other producers may use its types as well."""
    about = values.get("itemId")
    return isinstance(about, str) and values.get("userId") == user_id and item_id == notification_id(user_id, about)


def _occurred_at(effect: Effect | None, updated_at: Any, envelope: Envelope) -> Instant:
    """Return the producer's time if the data of a known type has it; a deletion's data is older than the deletion."""
    produced_at = usable_instant(updated_at) if effect else None
    if produced_at is None:
        return envelope.time()
    return max(produced_at, envelope.time()) if effect == "delete" else produced_at


def _envelope_id(envelope: Envelope, event_type: str) -> str:
    if envelope.message_id is not None:
        return _EVENT_ID.validate_python(envelope.message_id)
    # Not the SQS message id: a redrive from the dead-letter queue gives the message a new one.
    return str(uuid5(NAMESPACE, f"{event_type}\n{envelope.text}"))


def _rejection(exc: ValidationError) -> Rejected:
    """Name every field at fault, and never what stands in it."""
    (path, message), *others = problems_of(exc)
    return Rejected("invalid_field", message + "".join(f"; {path}: {message}" for path, message in others), path)


def problems_of(exc: ValidationError) -> list[tuple[str, str]]:
    """Return path and message of every field at fault."""
    problems = exc.errors(include_url=False, include_context=False, include_input=False)
    return [(".".join(map(str, problem["loc"])) or "id", problem["msg"]) for problem in problems]
