"""Prints an item's events in order, each with what it changed: `python -m event_service.history reminder ITEM_ID`.

Commands that address the item are included.

Exit status: 0 printed, 1 there are no events, 2 they cannot be read.
"""

import argparse
import os
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from event_service.adapters.event_history import EventHistory
from event_service.adapters.paging import Span
from event_service.cli import make_patient_client, run
from event_service.codec.instants import Instant, parse_instant
from event_service.codec.json_text import json_array, json_object
from event_service.config import event_store_table
from event_service.console import make_parser
from event_service.deadline import Deadline
from event_service.domain.render import render
from event_service.domain.state import FieldChange, StoredEvent, diffs, state_at, timeline

_DAY_SECONDS: Final = 86_400.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the timeline; return the exit status."""
    options = _options(arguments)
    return run("history", lambda: _show(options))


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = make_parser("history", __doc__, "EVENT_STORE_TABLE, AWS_*")
    parser.add_argument("item_type", metavar="ITEM_TYPE", help="such as reminder")
    parser.add_argument("item_id", metavar="ITEM_ID")
    parser.add_argument("--user", metavar="ID", help="only the events of this user")
    parser.add_argument(
        "--from", dest="start", type=_instant, metavar="INSTANT", help="only events at this instant or later"
    )
    parser.add_argument("--to", dest="end", type=_instant, metavar="INSTANT", help="only events before this instant")
    parser.add_argument(
        "--at", type=_instant, metavar="INSTANT", help="only the event that decides the item's state at this instant"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object per line")
    options = parser.parse_args(arguments)
    if options.at and (options.start or options.end):
        parser.error("--at cannot be combined with --from or --to")
    if options.start and options.end and options.end < options.start:
        parser.error("--to is before --from")
    return options


def _instant(text: str) -> Instant:
    try:
        return parse_instant(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from exc


def _show(options: argparse.Namespace) -> int:
    table = event_store_table(os.environ)
    found = False
    with ThreadPoolExecutor(1) as pool:
        for event, changes in _read(EventHistory(make_patient_client("dynamodb"), table, pool), options):
            found = True
            print(_json_line(event, changes) if options.json else render(event, changes))
    if not found:
        print(f"history: no events of {options.item_type} {options.item_id} found", file=sys.stderr)
    return 0 if found else 1


def _read(history: EventHistory, options: argparse.Namespace) -> Iterable[tuple[StoredEvent, list[FieldChange]]]:
    item, deadline = (options.item_type, options.item_id), Deadline.after(_DAY_SECONDS)
    if options.at:
        span = Span(end=options.at, includes_end=True)
        event = state_at(history.item_events(*item, span, newest_first=True, deadline=deadline), options.user)
        return diffs([event] if event else [])
    events = history.item_events(*item, Span(end=options.end or ""), deadline=deadline)
    return timeline(events, options.user, options.start)


def _json_line(event: StoredEvent, changes: Iterable[FieldChange]) -> str:
    return json_object({"event": event.to_json(), "changes": json_array(change.to_json() for change in changes)})


if __name__ == "__main__":
    sys.exit(main())
