"""The JSON Schemas of the event types, made from the models with which the function reads events."""

from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, create_model

from event_service.domain.event import Effect
from event_service.domain.formats import CloudEvent, InstantText, PlainEvent

Json = dict[str, Any]

_DATE: Final = (
    "When to notify: an RFC 3339 date-time in the years 1-9999 in UTC, with `notifyOffset` already subtracted."
)


class ScheduledData(BaseModel):
    """The `eventData` of the known types, as producers send it.

    The function checks only a required `date`; it keeps every other field as received.
    """

    model_config = ConfigDict(extra="allow", use_attribute_docstrings=True)

    date: InstantText | None = Field(None, description=_DATE)
    id: str | None = None
    userId: str | None = None
    isRecurring: bool | None = None
    notifyOffset: float | None = Field(None, ge=0)
    notifyType: str | None = None
    """`push` or `email`."""
    message: str | None = None
    url: str | None = None
    createdAt: InstantText | None = None
    updatedAt: InstantText | None = None
    """When the producer changed the item; the event's time if the event does not have its own."""


UpsertData = create_model(
    "UpsertData", __base__=ScheduledData, __doc__=ScheduledData.__doc__, date=(InstantText, Field(description=_DATE))
)


class FactData(BaseModel):
    """The `eventData` of a fact: the notification after the change."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    id: str
    userId: str
    userEmail: str | None
    itemType: str
    itemId: str
    deliverAt: InstantText | None
    """Null if a deletion did not contain a usable date."""
    notificationData: dict[str, Any] | None
    """The event's data as the delivery services need it; null if it was too large to be published."""
    updatedAt: InstantText
    createdAt: InstantText
    truncated: bool = False
    """True if notificationData was left out; the event store has it."""


# The model of `eventData` for each effect; None is for facts.
DATA_MODELS: Final[dict[Effect | None, type[BaseModel]]] = {
    "create": UpsertData,
    "update": UpsertData,
    "delete": ScheduledData,
    None: FactData,
}


def any_format(data: Json, name: str | None) -> Json:
    """Return the schema of an event in any of the accepted formats."""
    native = _plain_schema(data, name)
    required = [field for field in native["required"] if field != "eventType"]  # it can be a message attribute
    legacy = native | {
        "title": "Legacy",
        "description": "The message attributes have the type; the envelope has the id and, unless eventData.updatedAt"
        " has it, the time.",
        "required": required,
        "properties": {key: schema for key, schema in native["properties"].items() if key != "id"},
        "not": {"anyOf": [{"required": [field]} for field in ("id", "specversion")]},
    }
    native |= {
        "title": "Native",
        "description": "The body takes precedence over the message attributes.",
        "required": [*required, "id", "occurredAt"],
        "not": {"required": ["specversion"]},
    }
    cloud = schema_of(CloudEvent)
    content = cloud.pop("$defs")["CloudEventData"]
    content["properties"]["eventData"] = data
    cloud["properties"] |= {"data": content} | _typed(cloud["properties"], name, "type", "itemtype")
    return {"anyOf": [legacy, native, cloud]}


def _plain_schema(data: Json, name: str | None) -> Json:
    schema = schema_of(PlainEvent)
    properties = schema["properties"]
    return schema | {"properties": properties | {"eventData": data} | _typed(properties, name, "eventType", "itemType")}


def fact_schema(data: Json, name: str) -> Json:
    """Return the schema of a fact."""
    schema = _plain_schema(data, name)
    return schema | {
        "title": "Fact",
        "description": "In the native format; causationId is the id of the event that caused the change.",
        "required": [*schema["properties"]],
    }


def _typed(properties: Json, name: str | None, *fields: str) -> Json:
    """Return the schemas of the fields that hold the type and the item type; for a given type, they are constants."""
    if name is None:
        return {field: properties[field] for field in fields}
    values = (name, name.partition(":")[0])
    return {field: {"type": "string", "const": value} for field, value in zip(fields, values, strict=True)}


def schema_of(model: type[BaseModel]) -> Json:
    """Return a model's JSON Schema, without titles and without the defaults that mark absent fields."""
    schema = model.model_json_schema()
    for part in (schema, *schema.get("$defs", {}).values()):
        for field in part["properties"].values():
            for noise in ("default", "title"):
                field.pop(noise, None)
    return schema
