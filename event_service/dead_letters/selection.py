"""Which dead letters a command is about, and what they have in common."""

from dataclasses import dataclass, field

from event_service.codec.instants import Instant
from event_service.dead_letters.letters import NO_REASON, DeadLetter

_LONGEST_TYPE = 60


@dataclass(frozen=True, slots=True)
class Selection:
    """The filters of a command: a letter has to match each kind of filter that is given.

    `message_ids` are those of records or of messages in the queue.
    """

    reasons: frozenset[str] = frozenset()
    event_types: frozenset[str] = frozenset()
    message_ids: frozenset[str] = frozenset()
    would_pass: bool = False

    def has(self, letter: DeadLetter) -> bool:
        """Tell whether a letter is selected."""
        return (
            (not self.reasons or (letter.reason or NO_REASON) in self.reasons)
            and (not self.event_types or letter.event_type in self.event_types)
            and (not self.message_ids or not self.message_ids.isdisjoint(letter.ids))
            and (not self.would_pass or letter.would_pass)
        )


@dataclass(slots=True)
class Group:
    """Letters of one reason and type."""

    count: int = 0
    would_pass: int = 0
    oldest: Instant | None = None


@dataclass(frozen=True, slots=True)
class Groups:
    """Letters, counted by reason and type."""

    groups: dict[tuple[str, str], Group] = field(default_factory=dict)

    def add(self, letter: DeadLetter) -> None:
        """Count a letter."""
        key = letter.reason or NO_REASON, _printable(letter.event_type)
        group = self.groups.setdefault(key, Group())
        group.count += 1
        group.would_pass += letter.would_pass
        if letter.sent_at and (group.oldest is None or letter.sent_at < group.oldest):
            group.oldest = letter.sent_at

    @property
    def count(self) -> int:
        """The number of letters."""
        return sum(group.count for group in self.groups.values())

    def table(self) -> str:
        """Return a line for each group, the largest first, below a heading."""
        rows = [("reason", "type", "count", "would pass", "oldest")]
        for (reason, event_type), group in sorted(self.groups.items(), key=lambda item: (-item[1].count, item[0])):
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
