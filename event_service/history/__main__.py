"""The timeline of an item: `python -m event_service.history reminder <id>`.

Needs `EVENT_STORE_TABLE` and the usual `AWS_*` variables.
"""

import argparse
import os
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from event_service.adapters.event_history import EventHistory, Span, Unreadable
from event_service.cli import CommandError, make_patient_client, run
from event_service.codec.instants import Instant, parse_instant
from event_service.codec.json_text import compose_array, compose_object
from event_service.config import event_store_table
from event_service.deadline import Deadline
from event_service.domain.state import FieldChange, Record, deciding, story, with_changes
from event_service.history.render import paragraph

_DAY_SECONDS: Final = 86_400.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the timeline; return the exit status: 1 where there is nothing to print, 2 where it cannot be read."""
    options = _options(arguments)
    return run("history", lambda: _history(options))


def _history(options: argparse.Namespace) -> int:
    table = event_store_table(os.environ)
    with ThreadPoolExecutor(1) as pool:
        try:
            return _print(EventHistory(make_patient_client("dynamodb"), table, pool), options)
        except Unreadable as exc:
            raise CommandError(str(exc)) from exc


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m event_service.history", description="Print an item's events in order, and what each changed."
    )
    parser.add_argument("item_type", help="such as reminder")
    parser.add_argument("item_id")
    parser.add_argument("--user", help="only the events of this user")
    parser.add_argument("--from", dest="start", type=_instant, help="only events at this instant or later")
    parser.add_argument("--to", dest="end", type=_instant, help="only events before this instant")
    parser.add_argument("--at", type=_instant, help="the state at this instant: the event that made it so")
    parser.add_argument("--json", action="store_true", help="a JSON object a line")
    options = parser.parse_args(arguments)
    if options.at and (options.start or options.end):
        parser.error("--at goes neither with --from nor with --to")
    if options.start and options.end and options.end < options.start:
        parser.error("--to: lies before --from")
    return options


def _instant(text: str) -> Instant:
    try:
        return parse_instant(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from exc


def _print(history: EventHistory, options: argparse.Namespace) -> int:
    pk, deadline = f"{options.item_type}#{options.item_id}", Deadline.after(_DAY_SECONDS)
    timeline: Iterable[tuple[Record, list[FieldChange]]]
    if options.at:
        span = Span(end=options.at, includes_end=True)
        found = deciding(history.records(pk, span, newest_first=True, deadline=deadline), options.user)
        timeline = with_changes([found] if found else [])
    else:
        timeline = story(
            history.records(pk, Span(end=options.end or ""), deadline=deadline), options.user, options.start
        )
    known = False
    for record, changes in timeline:
        known = True
        print(_json_line(record, changes) if options.json else paragraph(record, changes))
    if not known:
        print(f"nothing is known of {options.item_type} {options.item_id} here", file=sys.stderr)
    return 0 if known else 1


def _json_line(record: Record, changes: Iterable[FieldChange]) -> str:
    return compose_object({"event": record.to_json(), "changes": compose_array(change.to_json() for change in changes)})


if __name__ == "__main__":
    sys.exit(main())
