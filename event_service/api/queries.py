"""The queries of the event store that the routes need."""

import os
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Final, NamedTuple

import botocore.session

from event_service.adapters.aws import make_client
from event_service.adapters.event_history import EventHistory
from event_service.adapters.paging import Span
from event_service.api.errors import BadParameter
from event_service.config import event_store_table
from event_service.deadline import Deadline
from event_service.domain.event import EventKey
from event_service.domain.state import StoredEvent, state_at

_SECONDS: Final = 20.0  # below the function's timeout and API Gateway's 29 seconds
_EVENTS_FOR_STATE: Final = 10  # usually more than enough


class EventSource(NamedTuple):
    """The event store, and the time left to read it for one request."""

    history: EventHistory
    deadline: Deadline


def open_source() -> EventSource:
    """Return the event store that the environment names, with the time that a request has."""
    return EventSource(_history(event_store_table(os.environ)), Deadline.after(_SECONDS))


@lru_cache(maxsize=1)
def _history(table: str) -> EventHistory:
    return EventHistory(make_client(botocore.session.get_session(), "dynamodb"), table, ThreadPoolExecutor(4))


def read_state(
    source: EventSource, item_type: str, item_id: str, at: str | None, user_id: str | None
) -> StoredEvent | None:
    """Return the event that decides an item's state at an instant, or now; see `state_at`."""
    span = Span(end=at or "", includes_end=True)
    events = source.history.item_events(
        item_type, item_id, span, newest_first=True, step=_EVENTS_FOR_STATE, deadline=source.deadline
    )
    return state_at(events, user_id)


def read_facts(source: EventSource, *events: StoredEvent | None) -> dict[EventKey, list[EventKey]]:
    """Return the keys of the events' facts, by the key of the event."""
    return source.history.facts_of([event for event in events if event is not None], source.deadline)


def checked_span(start: str | None, end: str | None) -> Span:
    """Return the span between two instants.

    Raises:
        BadParameter: the end is before the start.

    """
    if start and end and end < start:
        raise BadParameter("to", "is before from")
    return Span(start or "", end or "")
