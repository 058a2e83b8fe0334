"""The event catalogue: `python -m event_service.catalogue` prints it as an AsyncAPI 3 document.

Everything in it is made from what the function itself works with: the types of `events` and the models of `formats`.
"""

import json
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, create_model

from event_service.catalogue_examples import examples_of, fact_example
from event_service.events import FACT_TYPES, KNOWN_TYPES, Effect
from event_service.formats import CloudEvent, InstantText, PlainEvent

Json = dict[str, Any]

_EFFECTS: Final[dict[Effect, str]] = {
    "upsert": "Creates or replaces the user's notification for the item.",
    "delete": "Deletes the user's notification for the item.",
}
_ATTRIBUTES: Final = {
    "eventType": "The event's type. A legacy event, which has none in its body, needs it.",
    "eventItemType": "The type of the item: the part of eventType before the colon.",
}


_DATE: Final = "When to notify, in RFC 3339 and the years 1-9999 in UTC; `notifyOffset` is subtracted already."


class ScheduledData(BaseModel):
    """The `eventData` of the known types, as producers send it.

    The function itself insists on nothing but a required `date`, and keeps whatever else there is as it came.
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
    """When the producer changed the item: the event's time where it brings none of its own."""


UpsertData = create_model(
    "UpsertData", __base__=ScheduledData, __doc__=ScheduledData.__doc__, date=(InstantText, Field(description=_DATE))
)


class FactData(BaseModel):
    """The `eventData` of a fact: the notification as it became."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    id: str
    userId: str
    userEmail: str | None
    itemType: str
    itemId: str
    deliverAt: InstantText | None
    """Null where a deletion brought no usable date."""
    notificationData: dict[str, Any] | None
    """The event's data as the delivery services need it; null where it was too large to be published."""
    updatedAt: InstantText
    createdAt: InstantText
    truncated: bool = False
    """True where notificationData was left out: the event store has it."""


# By effect; None is a fact's.
_DATA: Final[dict[Effect | None, type[BaseModel]]] = {"upsert": UpsertData, "delete": ScheduledData, None: FactData}


def event_types() -> list[Json]:
    """Return the catalogue of types: those with an effect, then the facts.

    Each has `name`, `direction` (`in`, or `out` for the facts the service publishes), `effect` (`upsert`, `delete` or
    None), `description`, the JSON Schemas (draft 2020-12) `eventDataSchema` and `messageSchema`, and `examples`:
    messages with their attributes, `{"name", "headers", "payload"}`.
    """
    known = [
        {
            "name": name,
            "direction": "in",
            "effect": effect,
            "description": _EFFECTS[effect],
            "eventDataSchema": (data := _schema(_DATA[effect])),
            "messageSchema": _any_format(data, name),
            "examples": examples_of(name),
        }
        for name, effect in KNOWN_TYPES.items()
    ]
    facts = [
        {
            "name": name,
            "direction": "out",
            "effect": None,
            "description": f"A notification was {name.partition(':')[2]}. Published at least once, with the same id.",
            "eventDataSchema": (data := _schema(_DATA[None])),
            "messageSchema": _fact_schema(data, name),
            "examples": [fact_example(name)],
        }
        for name in sorted(FACT_TYPES)
    ]
    return known + facts


def asyncapi() -> Json:
    """Return the AsyncAPI 3 document: https://www.asyncapi.com/docs/reference/specification/v3.0.0."""
    types = event_types()
    received = {_key(each["name"]): _message(each) for each in types if each["direction"] == "in"}
    received["anyOtherType"] = {
        "name": "anyOtherType",
        "title": "any other type",
        "summary": "Stored, without any effect.",
        "contentType": "application/json",
        "headers": _headers(None),
        "payload": _any_format({"type": "object"}, None),
        "examples": examples_of("order:placed"),
    }
    facts = {_key(each["name"]): _message(each) for each in types if each["direction"] == "out"}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "event-service",
            "version": "1.0.0",
            "description": "Stores every event, keeps notifications up to date and publishes what changed.",
        },
        "defaultContentType": "application/json",
        "channels": {
            "eventTopic": _channel("The SNS topic that the event queue is subscribed to.", received),
            "notificationTopic": _channel("The SNS topic that facts are published to.", facts),
        },
        "operations": {
            "receiveEvent": {"action": "receive", "channel": {"$ref": "#/channels/eventTopic"}},
            "publishFact": {"action": "send", "channel": {"$ref": "#/channels/notificationTopic"}},
        },
        "components": {
            "schemas": {model.__name__: _schema(model) for model in _DATA.values()},
            "messages": received | facts,
        },
    }


def _channel(description: str, messages: Json) -> Json:
    references = {key: {"$ref": f"#/components/messages/{key}"} for key in messages}
    return {"address": None, "description": description, "messages": references}


def _message(event_type: Json) -> Json:
    data = {"$ref": f"#/components/schemas/{_DATA[event_type['effect']].__name__}"}
    schema = _any_format if event_type["direction"] == "in" else _fact_schema
    return {
        "name": event_type["name"],
        "title": event_type["name"],
        "summary": event_type["description"],
        "contentType": "application/json",
        "headers": _headers(event_type["name"]),
        "payload": schema(data, event_type["name"]),
        "examples": event_type["examples"],
    }


def _headers(name: str | None) -> Json:
    properties = {attribute: {"type": "string", "description": text} for attribute, text in _ATTRIBUTES.items()}
    if name is not None:
        properties["eventType"]["const"] = name
        properties["eventItemType"]["const"] = name.partition(":")[0]
    if name in FACT_TYPES:
        properties["userId"] = {"type": "string", "description": "The user whose notification it is."}
    return {"type": "object", "properties": properties}


def _any_format(data: Json, name: str | None) -> Json:
    """Return the schema of an event in any of the formats that are let in."""
    native = _plain_schema(data, name)
    required = [field for field in native["required"] if field != "eventType"]  # it may be a message attribute
    legacy = native | {
        "title": "Legacy",
        "description": "What the body does not have stands in the message attributes (the type) and the envelope (the"
        " id and, unless eventData.updatedAt has it, the time).",
        "required": required,
        "properties": {key: schema for key, schema in native["properties"].items() if key != "id"},
        "not": {"anyOf": [{"required": [field]} for field in ("id", "specversion")]},
    }
    native |= {
        "title": "Native",
        "description": "What stands in the body wins over the message attributes.",
        "required": [*required, "id", "occurredAt"],
        "not": {"required": ["specversion"]},
    }
    cloud = _schema(CloudEvent)
    content = cloud.pop("$defs")["CloudEventData"]
    content["properties"]["eventData"] = data
    cloud["properties"] |= {"data": content} | _typed(cloud["properties"], name, "type", "itemtype")
    return {"anyOf": [legacy, native, cloud]}


def _plain_schema(data: Json, name: str | None) -> Json:
    schema = _schema(PlainEvent)
    properties = schema["properties"]
    return schema | {"properties": properties | {"eventData": data} | _typed(properties, name, "eventType", "itemType")}


def _fact_schema(data: Json, name: str) -> Json:
    schema = _plain_schema(data, name)
    return schema | {
        "title": "Fact",
        "description": "In the native format; causationId is the id of the event that caused the change.",
        "required": [*schema["properties"]],
    }


def _typed(properties: Json, name: str | None, *fields: str) -> Json:
    """Return the schemas of the fields for the type and the item type, of one type if it is given."""
    if name is None:
        return {field: properties[field] for field in fields}
    values = (name, name.partition(":")[0])
    return {field: {"type": "string", "const": value} for field, value in zip(fields, values, strict=True)}


def _schema(model: type[BaseModel]) -> Json:
    """Return a model's JSON Schema, without the defaults by which the models mark what is absent."""
    schema = model.model_json_schema()
    for part in (schema, *schema.get("$defs", {}).values()):
        for field in part["properties"].values():
            for noise in ("default", "title"):
                field.pop(noise, None)
    return schema


def _key(name: str) -> str:
    """Return a type's name as AsyncAPI lets a component be called."""
    return name.replace(":", ".")


if __name__ == "__main__":
    print(json.dumps(asyncapi(), indent=2, ensure_ascii=False))
