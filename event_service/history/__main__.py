"""Prints an item's events in order, each with what it changed: `python -m event_service.history reminder ITEM_ID`.

Commands that address the item are included.

Exit status: 0 printed, 1 there are no events, 2 they cannot be read.
"""

import argparse
import sys
from collections.abc import Sequence

from event_service.cli import run
from event_service.codec.instants import Instant, parse_instant
from event_service.console import make_parser
from event_service.history.show import Selection, show


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the timeline; return the exit status: 1 if there are no events, 2 if they cannot be read."""
    options = _options(arguments)
    selection = Selection(
        options.item_type, options.item_id, options.user, start=options.start, end=options.end, at=options.at
    )
    return run("history", lambda: show(selection, as_json=options.json))


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


if __name__ == "__main__":
    sys.exit(main())
