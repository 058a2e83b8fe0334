"""The routes of the read API, and the entry point of its Lambda function, which is behind API Gateway's REST API."""

import json
from dataclasses import replace
from typing import Annotated, Any, Final

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.event_handler.openapi.models import Server
from aws_lambda_powertools.event_handler.openapi.params import Query

from event_service.adapters.paging import Span
from event_service.api.app import ApiResponse, make_app, responses, with_encoded_path
from event_service.api.errors import NotFound
from event_service.api.models import (
    At,
    Cursor,
    EventPage,
    EventTypes,
    From,
    Identifier,
    Instant,
    ItemChanges,
    ItemState,
    ItemType,
    Limit,
    OnlyUserId,
    To,
    UserId,
)
from event_service.api.queries import checked_span, open_source, read_facts, read_state
from event_service.api.responses import changes_json, json_response, page_json, state_json
from event_service.catalogue import document as catalogue
from event_service.codec.json_text import dumps
from event_service.domain.render import render
from event_service.domain.state import StoredEvent, differences, timeline

_MAX_TEXT_BYTES: Final = 4 * 1024 * 1024  # as JSON, in which Lambda allows 6 MB
_PARAMETERS: Final = {
    "/items/{itemType}/{itemId}/events": {"from", "to", "limit", "cursor"},
    "/items/{itemType}/{itemId}": {"at", "userId"},
    "/items/{itemType}/{itemId}/changes": {"from", "to", "userId"},
    "/items/{itemType}/{itemId}/timeline": {"from", "to", "userId"},
    "/users/{userId}/events": {"from", "to", "limit", "cursor"},
    "/event-types": set[str](),
}

app = make_app(_PARAMETERS)


@app.get(
    "/items/<itemType>/<itemId>/events",
    summary="An item's history",
    responses=responses(EventPage, may_be_missing=True),
)
def item_events(
    itemType: ItemType, itemId: Identifier, start: From = None, to: To = None, limit: Limit = 100, cursor: Cursor = None
) -> ApiResponse:
    """Return the events stored under an item, in order; 404 if there are none in this span.

    Commands are stored under `notification/<itemId>`; the state, the changes and the timeline of the item include them.
    """
    source = open_source()
    span = checked_span(start, to)
    page = source.history.item_page(f"{itemType}#{itemId}", span, limit=limit, cursor=cursor, deadline=source.deadline)
    if not page.events and cursor is None:
        raise NotFound("This item has no events in this span")
    return json_response(page_json(page, read_facts(source, *page.events)))


@app.get("/users/<userId>/events", summary="A user's events", responses=responses(EventPage))
def user_events(
    userId: Identifier, start: From = None, to: To = None, limit: Limit = 100, cursor: Cursor = None
) -> ApiResponse:
    """Return a user's events of all items, in order. Facts are not included; `factPaths` leads to them."""
    source = open_source()
    span = checked_span(start, to)
    page = source.history.user_page(userId, span, limit=limit, cursor=cursor, deadline=source.deadline)
    return json_response(page_json(page, read_facts(source, *page.events)))


@app.get("/items/<itemType>/<itemId>", summary="An item's state", responses=responses(ItemState, may_be_missing=True))
def item_state(itemType: ItemType, itemId: Identifier, at: At = None, userId: UserId = None) -> ApiResponse:
    """Return the state of an item at an instant, and the event that decides it; a deleted item has a state too.

    Commands that address the item count.
    """
    source = open_source()
    event = read_state(source, itemType, itemId, at, userId)
    if event is None:
        raise NotFound("This item has no state at this instant")
    return json_response(state_json((itemType, itemId), event, at, read_facts(source, event)))


@app.get(
    "/items/<itemType>/<itemId>/changes", summary="What changed", responses=responses(ItemChanges, may_be_missing=True)
)
def item_changes(
    itemType: ItemType,
    itemId: Identifier,
    start: Annotated[Instant, Query(alias="from", description="The earlier instant")],
    to: Annotated[Instant, Query(description="The later instant")],
    userId: UserId = None,
) -> ApiResponse:
    """Return what differs between an item's states at two instants, field by field of its data.

    If the two events together are too large for a response, their `eventData` is empty; `changes` is always complete.
    """
    checked_span(start, to)
    source = open_source()
    new = read_state(source, itemType, itemId, to, userId)
    if new is None:
        raise NotFound("This item has no state at the later instant")
    old = read_state(source, itemType, itemId, start, new.user_id)
    facts, changes = read_facts(source, old, new), differences(old, new)

    def body(old: StoredEvent | None, new: StoredEvent) -> str:
        old_state = None if old is None else state_json((itemType, itemId), old, start, facts)
        return changes_json(old_state, state_json((itemType, itemId), new, to, facts), changes)

    text = body(old, new)
    if len(json.dumps(text)) > _MAX_TEXT_BYTES:  # the changes alone fit: of two events of 1 MiB, however escaped
        text = body(old and replace(old, data="{}"), replace(new, data="{}"))
    return json_response(text)


@app.get(
    "/items/<itemType>/<itemId>/timeline",
    summary="A timeline to read",
    responses=responses(None, may_be_missing=True),
)
def item_timeline(
    itemType: ItemType, itemId: Identifier, start: From = None, to: To = None, userId: OnlyUserId = None
) -> ApiResponse:
    """Return an item's events in order as text, each with what it changed: field: old → new.

    A timeline that is too long for one response ends with the instant to continue from.
    """
    span = checked_span(start, to)
    source = open_source()
    events = source.history.item_events(itemType, itemId, Span(end=span.end), deadline=source.deadline)
    paragraphs: list[str] = []
    size = 0
    for event, changes in timeline(events, userId, start):
        text = render(event, changes)
        size += len(json.dumps(text))
        if paragraphs and size > _MAX_TEXT_BYTES:
            paragraphs.append(f"… continue with from={event.occurred_at}")
            break
        paragraphs.append(text)
    if not paragraphs:
        raise NotFound("This item has no events in this span")
    return Response(200, "text/plain; charset=utf-8", "\n".join(paragraphs) + "\n")


@app.get("/event-types", summary="The known event types", responses=responses(EventTypes))
def event_types() -> ApiResponse:
    """Return the types that the service knows, with their JSON Schemas and examples."""
    return json_response(dumps({"eventTypes": catalogue.event_types()}))


app.enable_swagger(
    path="/docs",
    title="event-service: read API",
    version="1.0.0",
    description="The histories of items and users, an item's state at any instant, and the known event types.",
    servers=[Server(url=".")],  # relative to the page, because a stage may precede the path
)


def lambda_handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Respond to a request of API Gateway's REST API (Lambda proxy integration, payload format 1.0)."""
    return app.resolve(with_encoded_path(event), context)
