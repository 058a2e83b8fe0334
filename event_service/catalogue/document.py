"""The known event types, as a list and as an AsyncAPI 3 document.

Both are made from the function's own table of types (`domain.event`) and its models (`domain.formats`).
"""

from typing import Any, Final

from event_service.catalogue.examples import examples_of, fact_example
from event_service.catalogue.schemas import DATA_MODELS, any_format, fact_schema, schema_of
from event_service.domain.event import FACT_TYPES, KNOWN_TYPES, Effect

Json = dict[str, Any]

_EFFECTS: Final[dict[Effect, str]] = {
    "create": "Creates or replaces the user's notification for the item.",
    "update": "Creates or replaces the user's notification for the item.",
    "delete": "Deletes the user's notification for the item.",
}
_ATTRIBUTES: Final = {
    "eventType": "The event's type; required for a legacy event, whose body does not have it.",
    "eventItemType": "The item type: the part of eventType before the colon.",
}


def event_types() -> list[Json]:
    """Return the types with an effect, then the facts; `api.models.KnownType` describes the members of each."""
    accepted = [
        {
            "name": name,
            "direction": "in",
            "effect": known.effect,
            "subject": known.subject,
            "description": _EFFECTS[known.effect],
            "eventDataSchema": (data := schema_of(DATA_MODELS[known.effect])),
            "messageSchema": any_format(data, name),
            "examples": examples_of(name),
        }
        for name, known in KNOWN_TYPES.items()
    ]
    facts = [
        {
            "name": name,
            "direction": "out",
            "effect": None,
            "subject": None,
            "description": f"A notification was {name.partition(':')[2]}. Published at least once, with the same id.",
            "eventDataSchema": (data := schema_of(DATA_MODELS[None])),
            "messageSchema": fact_schema(data, name),
            "examples": [fact_example(name)],
        }
        for name in sorted(FACT_TYPES)
    ]
    return accepted + facts


def asyncapi() -> Json:
    """Return the AsyncAPI 3 document: https://www.asyncapi.com/docs/reference/specification/v3.0.0."""
    types = event_types()
    received = {_key(each["name"]): _message(each) for each in types if each["direction"] == "in"}
    received["anyOtherType"] = {
        "name": "anyOtherType",
        "title": "any other type",
        "summary": "Stored only.",
        "contentType": "application/json",
        "headers": _headers(None),
        "payload": any_format({"type": "object"}, None),
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
            "schemas": {model.__name__: schema_of(model) for model in DATA_MODELS.values()},
            "messages": received | facts,
        },
    }


def _channel(description: str, messages: Json) -> Json:
    references = {key: {"$ref": f"#/components/messages/{key}"} for key in messages}
    return {"address": None, "description": description, "messages": references}


def _message(event_type: Json) -> Json:
    data = {"$ref": f"#/components/schemas/{DATA_MODELS[event_type['effect']].__name__}"}
    schema = any_format if event_type["direction"] == "in" else fact_schema
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


def _key(name: str) -> str:
    """Return a type's name as a component key, which AsyncAPI does not allow to contain a colon."""
    return name.replace(":", ".")
