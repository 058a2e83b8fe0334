"""Dead letters, counted by reason and type."""

from collections.abc import Iterable
from dataclasses import dataclass

from event_service.codec.instants import Instant
from event_service.dead_letters.letters import NO_REASON, DeadLetter

_LONGEST_TYPE = 60


@dataclass(slots=True)
class Group:
    """Letters of one reason and type."""

    count: int = 0
    would_pass: int = 0
    oldest: Instant | None = None


Groups = dict[tuple[str, str], Group]


def grouped(letters: Iterable[DeadLetter]) -> Groups:
    """Group letters by reason and type."""
    groups: Groups = {}
    for letter in letters:
        group = groups.setdefault((letter.reason or NO_REASON, _printable(letter.event_type)), Group())
        group.count += 1
        group.would_pass += letter.would_pass
        if letter.sent_at and (group.oldest is None or letter.sent_at < group.oldest):
            group.oldest = letter.sent_at
    return groups


def total(groups: Groups) -> int:
    """Return the number of letters."""
    return sum(group.count for group in groups.values())


def table(groups: Groups) -> str:
    """Return a line for each group, the largest first, below a heading."""
    rows = [("reason", "type", "count", "would pass", "oldest")]
    for (reason, event_type), group in sorted(groups.items(), key=lambda item: (-item[1].count, item[0])):
        rows.append((reason, event_type, f"{group.count:,}", f"{group.would_pass:,}", group.oldest or "-"))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return "\n".join(
        f"{row[0]:<{widths[0]}}  {row[1]:<{widths[1]}}  {row[2]:>{widths[2]}}  {row[3]:>{widths[3]}}  {row[4]}"
        for row in rows
    )


def _printable(event_type: str | None) -> str:
    """Return a type as a terminal can show it; a rejected record may have anything in its place."""
    if event_type is None:
        return "-"
    text = event_type if event_type.isprintable() else ascii(event_type)
    return text if len(text) <= _LONGEST_TYPE else text[:_LONGEST_TYPE] + "…"
