"""Checks files of messages and prints one line for each record, or for each problem of a record."""

import codecs
import difflib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from event_service.check.problems import judge, problems
from event_service.check.shapes import records_in
from event_service.domain.event import FACT_TYPES, KNOWN_TYPES, Effect
from event_service.errors import RecordError

_LINE_SUFFIXES: Final = (".ndjson", ".jsonl")
# A misspelling, such as reminder:creatd, is this similar; another type, such as reminder:completed, is not.
_MISSPELT_SIMILARITY: Final = 0.9
_NEAREST_SIMILARITY: Final = 0.5
_EFFECTS: Final[dict[Effect | None, str]] = {
    "create": "creates or replaces a notification",
    "update": "creates or replaces a notification",
    "delete": "deletes a notification",
    None: "stored only",
}


def check_files(files: Sequence[str], attributes: Mapping[str, str], *, strict: bool = False) -> int:
    """Check files (`-` is standard input); return 1 if a record would be rejected, 2 if a file cannot be checked.

    `attributes` are the message attributes of bare messages. `strict`: an unknown type counts as rejected.
    """
    return max([_check_file(file, attributes, strict=strict) for file in files], default=0)


def _check_file(file: str, attributes: Mapping[str, str], *, strict: bool) -> int:
    try:
        text = _read(file)
    except OSError as exc:
        return _unusable(file, exc.strerror or type(exc).__name__)
    except UnicodeDecodeError as exc:
        is_utf16 = exc.object.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        return _unusable(file, "is UTF-16 text; save it as UTF-8" if is_utf16 else "is not UTF-8 text")
    records = records_in(text, attributes, by_line=file.endswith(_LINE_SUFFIXES))
    if not records:
        return _unusable(file, "contains no records")
    status = 0
    for place, record in records:
        accepted, lines = _verdict(record, strict=strict)
        for line in lines:
            print(f"{file}: {place}: {line}" if place else f"{file}: {line}")
        status = max(status, 0 if accepted else 1)
    return status


def _read(file: str) -> str:
    return (sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()).decode("utf-8-sig")


def _unusable(file: str, reason: str) -> int:
    print(f"{file}: {reason}", file=sys.stderr)
    return 2


def _verdict(record: Any, *, strict: bool) -> tuple[bool, list[str]]:
    outcome = judge(record)
    if isinstance(outcome, RecordError):
        return False, [f"{reason}: {problem}" for reason, problem in problems(record, outcome)]
    event_type = outcome.event_type
    known = outcome.known_type
    lines = [f"ok: {event_type}, {_EFFECTS[known.effect if known else None]}"]
    if known or event_type in FACT_TYPES:
        return True, lines
    if strict:
        return False, [f"unknown_type: {_unknown(event_type, _NEAREST_SIMILARITY)}"]
    if _nearest(event_type, _MISSPELT_SIMILARITY):
        lines.append(f"warning: {_unknown(event_type, _MISSPELT_SIMILARITY)}")
    return True, lines


def _unknown(event_type: str, similarity: float) -> str:
    nearest = _nearest(event_type, similarity)
    return f"{event_type} is not a known type" + (f"; did you mean {nearest}?" if nearest else "")


def _nearest(event_type: str, similarity: float) -> str | None:
    known = [*KNOWN_TYPES, *sorted(FACT_TYPES)]
    return next(iter(difflib.get_close_matches(event_type.lower(), known, n=1, cutoff=similarity)), None)
