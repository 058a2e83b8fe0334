"""The bodies of responses, composed from stored JSON texts: `eventData` is never parsed, so no digit of it is lost."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from urllib.parse import quote

from aws_lambda_powertools.event_handler import Response

from event_service.adapters.paging import Page
from event_service.api.app import ApiResponse
from event_service.codec.instants import format_instant
from event_service.codec.json_text import dumps, json_array, json_object
from event_service.domain.event import EventKey
from event_service.domain.links import cause_of
from event_service.domain.state import FieldChange, StoredEvent

Facts = Mapping[EventKey, Sequence[EventKey]]


def json_response(text: str) -> ApiResponse:
    """Return a response with this JSON."""
    return Response(200, "application/json", text)


def page_json(page: Page, facts: Facts) -> str:
    """Return a page of events; see `models.EventPage`."""
    events = json_array(event_json(event, facts) for event in page.events)
    return json_object({"events": events, "next": dumps(page.cursor)})


def state_json(item: tuple[str, str], event: StoredEvent, at: str | None, facts: Facts) -> str:
    """Return an item's state as its deciding event makes it; see `models.ItemState`."""
    item_type, item_id = item
    fields = {
        "itemType": item_type,
        "itemId": item_id,
        "userId": event.user_id,
        "at": at,
        "state": "deleted" if event.effect == "delete" else "existing",
        "since": event.occurred_at,
    }
    return json_object({name: dumps(value) for name, value in fields.items()} | {"event": event_json(event, facts)})


def changes_json(old: str | None, new: str, changes: Sequence[FieldChange]) -> str:
    """Return two states and what differs between them; see `models.ItemChanges`."""
    fields = json_array(change.to_json() for change in changes)
    return json_object({"old": "null" if old is None else old, "new": new, "changes": fields})


def event_json(event: StoredEvent, facts: Facts) -> str:
    """Return an event with the links to its cause and its facts; see `models.StoredEvent`."""
    cause = cause_of(event)
    own_facts = facts.get(event.key, [])
    return event.to_json(
        causationPath=dumps(None if cause is None else _path(cause)),
        factIds=dumps([sk.partition("#")[2] for _, sk in own_facts]),
        factPaths=dumps([_path(key) for key in own_facts]),
    )


def _path(key: EventKey) -> str:
    """Return the path of an event: the part of its item's history that is at its instant."""
    item_type, _, item_id = key[0].partition("#")
    occurred_at = key[1].partition("#")[0]
    path = f"/items/{quote(item_type, safe='')}/{quote(item_id, safe='')}/events?from={occurred_at}"
    try:
        return f"{path}&to={format_instant(datetime.fromisoformat(occurred_at) + timedelta(microseconds=1))}"
    except OverflowError:  # nothing follows the last microsecond of the year 9999
        return path
