"""Checks messages as the function would, without AWS or a database: `python -m event_service.check FILE...`.

Producers run it in their CI. What a file holds is seen by its shape:

- a Lambda event: has `Records`, and each is checked; an SQS record: has a text `body`; neither has `eventData` or
  `specversion`, as events do,
- an SNS notification: `"Type": "Notification"`,
- anything else is a message body. The type of a legacy event, which travels as a message attribute, is an option.

Exit status: 0 all would be accepted, 1 one would be rejected, 2 a file cannot be read or holds no record, or the
command is wrong.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from event_service.cli import run
from event_service.codec.json_text import texts_of
from event_service.codec.jsonb import check_numbers
from event_service.domain.envelope import open_envelope
from event_service.domain.event import KNOWN_TYPES
from event_service.domain.formats import problems_of
from event_service.domain.projection import date_of
from event_service.errors import RecordError, Rejected
from event_service.pipeline import Entry, parse

# With its attributes, which are small: the function never sees a larger one.
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
_MAX_MESSAGE_BYTES: Final = 1024 * 1024


def records_of(text: str, attributes: dict[str, str]) -> list[Any]:
    """Return the SQS records that a file holds or, of a bare message, the one it would arrive in."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        document = None  # the function is to say what is wrong with it
    if isinstance(document, dict) and not {"eventData", "specversion"} & document.keys():
        if isinstance(document.get("Records"), list):
            return list(document["Records"])
        if isinstance(document.get("body"), str):
            return [document]
    return [
        {
            "body": text,
            "attributes": {"SentTimestamp": str(time.time_ns() // 1_000_000)},
            "messageAttributes": {name: {"stringValue": value} for name, value in attributes.items()},
        }
    ]


def problems(record: Mapping[str, Any], error: RecordError) -> list[tuple[str, str]]:
    """Return reason and text, with its path, of every problem.

    The function itself looks into `eventData` only where no other field is wrong.
    """
    fields: list[tuple[str, str]] = []
    if isinstance(error.__cause__, ValidationError):
        fields = [(error.reason, f"{path}: {message}") for path, message in problems_of(error.__cause__)]
    elif not (error.field or "").startswith("eventData"):
        return [(error.reason, str(error))]
    data = [(problem.reason, str(problem)) for problem in _problems_of_data(record)]
    return fields + data or [(error.reason, str(error))]


def _problems_of_data(record: Mapping[str, Any]) -> Iterator[Rejected]:
    """Yield what is wrong with the data of a known type, whatever is wrong beside it."""
    envelope = open_envelope(record)
    members = texts_of(envelope.text)
    event_type = envelope.values.get("eventType", envelope.attributes.get("eventType"))
    if "specversion" in members:
        event_type = envelope.values.get("type")
        members = texts_of(data) if (data := members.get("data", "")).startswith("{") else {}
    data = members.get("eventData", "")
    if not isinstance(event_type, str) or event_type not in KNOWN_TYPES or not data.startswith("{"):
        return
    checks: list[Callable[[], object]] = [
        partial(date_of, texts_of(data), KNOWN_TYPES[event_type]),
        partial(check_numbers, data, "eventData"),
    ]
    for check in checks:
        try:
            check()
        except Rejected as exc:
            yield exc


def _lines(place: str, record: Any, entry: Entry) -> list[str]:
    if entry.error is not None:
        return [f"{place}: {reason}: {problem}" for reason, problem in problems(record, entry.error)]
    event = entry.event
    effect = {"upsert": "creates or replaces a notification", "delete": "deletes a notification", None: "stored only"}
    return [f"{place}: ok: {event.event_type}, {effect[event.effect]}" if event else place]


def _parse_any(record: Any) -> Entry:
    if not isinstance(record, dict):
        return Entry(error=Rejected("invalid_field", "is no object", "Records"))
    size = len(str(record.get("body", "")).encode(errors="surrogatepass"))
    if size > _MAX_MESSAGE_BYTES:
        return Entry(error=Rejected("too_large", f"has {size:,} bytes; SQS takes {_MAX_MESSAGE_BYTES:,}", "body"))
    return parse(record)


def main(arguments: Sequence[str] | None = None) -> int:
    """Check the files that the command line names; return the exit status."""
    description, _, details = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        "python -m event_service.check",
        description=description,
        epilog=details,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help="a file, or - for standard input")
    parser.add_argument("--event-type", help="message attribute eventType of a bare message, such as reminder:created")
    parser.add_argument("--item-type", help="message attribute eventItemType of a bare message, such as reminder")
    options = parser.parse_args(arguments)
    return run("check", lambda: _check(options))


def _check(options: argparse.Namespace) -> int:
    attributes = {"eventType": options.event_type, "eventItemType": options.item_type}
    status = 0
    for file in options.files:
        try:
            text = (sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()).decode()
        except (OSError, UnicodeDecodeError) as exc:
            reason = exc.strerror if isinstance(exc, OSError) else "is no UTF-8 text"
            print(f"{file}: {reason}", file=sys.stderr)
            status = 2
            continue
        records = records_of(text, {name: value for name, value in attributes.items() if value is not None})
        if not records:
            print(f"{file}: Records is empty", file=sys.stderr)
            status = 2
        for number, record in enumerate(records, 1):
            entry = _parse_any(record)
            print("\n".join(_lines(file if len(records) == 1 else f"{file}: record {number}", record, entry)))
            if entry.error is not None:
                status = max(status, 1)
    return status


if __name__ == "__main__":
    sys.exit(main())
