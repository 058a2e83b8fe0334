"""Renders a timeline as text for people; safe to print to a terminal."""

from collections.abc import Sequence
from typing import Final

from event_service.domain.state import FieldChange, StoredEvent

_MAX_VALUE_CHARACTERS: Final = 100


def render(event: StoredEvent, changes: Sequence[FieldChange]) -> str:
    """Return an event and what it changed, field by field, as lines."""
    event_type, user_id, id_ = map(_printable, (event.event_type, event.user_id, event.id))
    lines = [f"{event.occurred_at}  {event_type}  user {user_id}  id {id_}"]
    if event.effect == "delete":
        lines.append(f"    deleted at {event.occurred_at}")
    else:
        lines += [_line(change) for change in changes] or ["    nothing changed"]
    return "\n".join(lines)


def _line(change: FieldChange) -> str:
    name = _printable(change.field)
    if change.old is None:
        return f"    {name}: {_shortened(change.new)}"
    return f"    {name}: {_shortened(change.old)} → {_shortened(change.new)}"


def _shortened(text: str | None) -> str:
    plain = "(none)" if text is None else _printable(text)
    if len(plain) <= _MAX_VALUE_CHARACTERS:
        return plain
    return f"{plain[:_MAX_VALUE_CHARACTERS]}… ({len(plain):,} characters)"


def _printable(text: str) -> str:
    """Return a text with its unprintable characters escaped, because they could control the terminal."""
    return (
        text
        if text.isprintable()
        else "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    )
