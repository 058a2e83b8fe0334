"""Prints the timeline of an item, or the event that decides its state at an instant."""

import os
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from event_service.adapters.event_history import EventHistory
from event_service.adapters.event_items import UnreadableItem
from event_service.adapters.paging import Span
from event_service.cli import make_patient_client
from event_service.codec.instants import Instant
from event_service.codec.json_text import json_array, json_object
from event_service.config import event_store_table
from event_service.deadline import Deadline
from event_service.domain.render import render
from event_service.domain.state import FieldChange, StoredEvent, diffs, state_at, timeline
from event_service.errors import CommandError

_DAY_SECONDS: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class Selection:
    """The events to print: those of a span, or with `at` only the event that decides the state at this instant."""

    item_type: str
    item_id: str
    user_id: str | None = None
    start: Instant | None = None
    end: Instant | None = None
    at: Instant | None = None


def show(selection: Selection, *, as_json: bool) -> int:
    """Print the selected events, each with what it changed; return the exit status: 1 if there are none.

    Raises:
        CommandError: an item of the event store cannot be read.
        ConfigurationError: `EVENT_STORE_TABLE` is not set.
        Unavailable: DynamoDB did not answer.

    """
    table = event_store_table(os.environ)
    found = False
    with ThreadPoolExecutor(1) as pool:
        try:
            for event, changes in _read(EventHistory(make_patient_client("dynamodb"), table, pool), selection):
                found = True
                print(_json_line(event, changes) if as_json else render(event, changes))
        except UnreadableItem as exc:
            raise CommandError(str(exc)) from exc
    if not found:
        print(f"history: no events of {selection.item_type} {selection.item_id} found", file=sys.stderr)
    return 0 if found else 1


def _read(history: EventHistory, selection: Selection) -> Iterable[tuple[StoredEvent, list[FieldChange]]]:
    item, deadline = (selection.item_type, selection.item_id), Deadline.after(_DAY_SECONDS)
    if selection.at:
        span = Span(end=selection.at, includes_end=True)
        event = state_at(history.item_events(*item, span, newest_first=True, deadline=deadline), selection.user_id)
        return diffs([event] if event else [])
    events = history.item_events(*item, Span(end=selection.end or ""), deadline=deadline)
    return timeline(events, selection.user_id, selection.start)


def _json_line(event: StoredEvent, changes: Iterable[FieldChange]) -> str:
    return json_object({"event": event.to_json(), "changes": json_array(change.to_json() for change in changes)})
