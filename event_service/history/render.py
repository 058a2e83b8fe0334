"""A timeline as text that a person reads, also in a terminal."""

from collections.abc import Sequence
from typing import Final

from event_service.domain.state import FieldChange, Record

_WIDTH: Final = 100  # of a value, in characters


def paragraph(record: Record, changes: Sequence[FieldChange]) -> str:
    """Return an event and what it changed, field by field, as lines."""
    lines = [
        f"{record.occurred_at}  {_plain(record.event_type)}  user {_plain(record.user_id)}  id {_plain(record.id)}"
    ]
    if record.effect == "delete":
        lines.append(f"    deleted at {record.occurred_at}")
    else:
        lines += [_line(change) for change in changes] or ["    nothing changed"]
    return "\n".join(lines)


def _line(change: FieldChange) -> str:
    name = _plain(change.field)
    if change.old is None:
        return f"    {name}: {_short(change.new)}"
    return f"    {name}: {_short(change.old)} → {_short(change.new)}"


def _short(text: str | None) -> str:
    plain = "(none)" if text is None else _plain(text)
    return plain if len(plain) <= _WIDTH else f"{plain[:_WIDTH]}… ({len(plain):,} characters)"


def _plain(text: str) -> str:
    """Return a text with escapes for what is no printable character: it must not steer the terminal."""
    return (
        text
        if text.isprintable()
        else "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    )
