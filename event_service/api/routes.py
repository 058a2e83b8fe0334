"""The read API: the second Lambda function, behind API Gateway's REST API.

`eventData` goes out as it was stored: answers are composed from JSON texts and are never parsed on the way. Errors are
problem details, RFC 9457.
"""

import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import lru_cache
from typing import Annotated, Any, Final

import botocore.session
from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.event_handler.openapi.models import Server
from aws_lambda_powertools.event_handler.openapi.params import Query

from event_service.adapters.aws import make_client
from event_service.adapters.event_history import MAX_PAGE_BYTES, EventHistory, InvalidCursor, Page, Span
from event_service.api.app import Answer, answers, make_app, with_encoded_path
from event_service.api.errors import Invalid, Unknown
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
from event_service.catalogue import document as catalogue
from event_service.codec.json_text import compose_array, compose_object, dumps
from event_service.config import event_store_table
from event_service.deadline import Deadline
from event_service.domain.state import Record, deciding, differences, story
from event_service.history.render import paragraph

_SECONDS: Final = 20.0  # below the function's timeout and API Gateway's 29 seconds

# The query parameters of each path; another one is a mistake of the caller.
_PARAMETERS: Final = {
    "/items/{itemType}/{itemId}/events": {"from", "to", "limit", "cursor"},
    "/items/{itemType}/{itemId}": {"at", "userId"},
    "/items/{itemType}/{itemId}/changes": {"from", "to", "userId"},
    "/items/{itemType}/{itemId}/timeline": {"from", "to", "userId"},
    "/users/{userId}/events": {"from", "to", "limit", "cursor"},
    "/event-types": set[str](),
}

app = make_app(_PARAMETERS)


@app.get("/items/<itemType>/<itemId>/events", summary="An item's history", responses=answers(EventPage, found=True))
def item_events(
    itemType: ItemType, itemId: Identifier, start: From = None, to: To = None, limit: Limit = 100, cursor: Cursor = None
) -> Answer:
    """Return an item's events in order; 404 where there is none at all in the span."""
    history, deadline = _history()
    page = _page(history.item_page, f"{itemType}#{itemId}", start, to, limit, cursor, deadline)
    if not page.events and cursor is None:
        raise Unknown("Nothing is known of this item in this span")
    return _page_answer(page)


@app.get("/users/<userId>/events", summary="A user's events", responses=answers(EventPage))
def user_events(
    userId: Identifier, start: From = None, to: To = None, limit: Limit = 100, cursor: Cursor = None
) -> Answer:
    """Return a user's events of every item in order. The facts, which are about events, are not among them."""
    history, deadline = _history()
    return _page_answer(_page(history.user_page, userId, start, to, limit, cursor, deadline))


@app.get("/items/<itemType>/<itemId>", summary="An item's state", responses=answers(ItemState, found=True))
def item_state(itemType: ItemType, itemId: Identifier, at: At = None, userId: UserId = None) -> Answer:
    """Return the state of an item at an instant, and the event that made it so. Deleted is a state."""
    record = _state(itemType, itemId, at, userId)
    if record is None:
        raise Unknown("Nothing is known of this item at this instant")
    return _json(_state_text(record, at))


@app.get("/items/<itemType>/<itemId>/changes", summary="What changed", responses=answers(ItemChanges, found=True))
def item_changes(
    itemType: ItemType,
    itemId: Identifier,
    start: Annotated[Instant, Query(alias="from", description="The earlier instant")],
    to: Annotated[Instant, Query(description="The later instant")],
    userId: UserId = None,
) -> Answer:
    """Return what differs between an item's states at two instants, field by field of its data.

    Of events that are together too large for an answer, `eventData` is empty: `changes` has what differs.
    """
    _check_order(start, to)
    new = _state(itemType, itemId, to, userId)
    if new is None:
        raise Unknown("Nothing is known of this item at these instants")
    old = _state(itemType, itemId, start, new.user_id)
    changes = compose_array(change.to_json() for change in differences(old, new))

    def text(old: Record | None, new: Record) -> str:
        states = {"old": "null" if old is None else _state_text(old, start), "new": _state_text(new, to)}
        return compose_object(states | {"changes": changes})

    answer = text(old, new)
    if len(json.dumps(answer)) > MAX_PAGE_BYTES:  # without, two of 1 MiB fit however they are escaped
        answer = text(old and replace(old, data="{}"), replace(new, data="{}"))
    return _json(answer)


@app.get("/items/<itemType>/<itemId>/timeline", summary="A timeline to read", responses=answers(None, found=True))
def item_timeline(
    itemType: ItemType, itemId: Identifier, start: From = None, to: To = None, userId: OnlyUserId = None
) -> Answer:
    """Return an item's events in order as text, each with what it changed, field: old → new.

    What is too long for one answer ends with the instant to go on from.
    """
    _check_order(start, to)
    history, deadline = _history()
    records = history.records(f"{itemType}#{itemId}", Span(end=to or ""), deadline=deadline)
    paragraphs: list[str] = []
    size = 0
    for record, changes in story(records, userId, start):
        text = paragraph(record, changes)
        size += len(json.dumps(text))
        if paragraphs and size > MAX_PAGE_BYTES:
            paragraphs.append(f"… and more: from={record.occurred_at}")
            break
        paragraphs.append(text)
    if not paragraphs:
        raise Unknown("Nothing is known of this item in this span")
    return Response(200, "text/plain; charset=utf-8", "\n".join(paragraphs) + "\n")


@app.get("/event-types", summary="The known event types", responses=answers(EventTypes))
def event_types() -> Answer:
    """Return the types that the service knows, with their JSON Schemas and examples."""
    return _json(dumps({"eventTypes": catalogue.event_types()}))


def _page(  # noqa: PLR0913, PLR0917
    read: Callable[..., Page],
    key: str,
    start: str | None,
    end: str | None,
    limit: int,
    cursor: str | None,
    deadline: Deadline,
) -> Page:
    _check_order(start, end)
    try:
        return read(key, Span(start or "", end or ""), limit=limit, cursor=cursor, deadline=deadline)
    except InvalidCursor as exc:
        raise Invalid("cursor", str(exc)) from exc


def _check_order(start: str | None, end: str | None) -> None:
    if start and end and end < start:
        raise Invalid("to", "lies before from")


def _state(item_type: str, item_id: str, at: str | None, user_id: str | None) -> Record | None:
    history, deadline = _history()
    span = Span(end=at or "", includes_end=True)
    records = history.records(f"{item_type}#{item_id}", span, newest_first=True, step=10, deadline=deadline)
    return deciding(records, user_id)


def _state_text(record: Record, at: str | None) -> str:
    item_type, _, item_id = record.pk.partition("#")
    fields = {
        "itemType": item_type,
        "itemId": item_id,
        "userId": record.user_id,
        "at": at,
        "state": "deleted" if record.effect == "delete" else "existing",
        "since": record.occurred_at,
    }
    return compose_object({name: dumps(value) for name, value in fields.items()} | {"event": record.to_json()})


def _page_answer(page: Page) -> Answer:
    return _json(compose_object({"events": compose_array(page.events), "next": dumps(page.cursor)}))


def _json(text: str) -> Answer:
    return Response(200, "application/json", text)


app.enable_swagger(
    path="/docs",
    title="event-service: reading the catalogue",
    version="1.0.0",
    description="Histories, states at any instant, and the event types of the event store.",
    servers=[Server(url=".")],  # beside the page itself: also under the path of a stage
)


def _history() -> tuple[EventHistory, Deadline]:
    return _history_of(event_store_table(os.environ)), Deadline.after(_SECONDS)


@lru_cache(maxsize=1)
def _history_of(table: str) -> EventHistory:
    return EventHistory(make_client(botocore.session.get_session(), "dynamodb"), table, ThreadPoolExecutor(1))


def lambda_handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Answer a request of API Gateway's REST API (Lambda proxy integration, payload format 1.0)."""
    return app.resolve(with_encoded_path(event), context)
