"""The facts that the contract requires of a notification (§4, §5 and §8): a model small enough to check by reading.

It shares no code with the service. It follows what deliveries, rebuilds and erasures do to one notification.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from tests.support.oracle import Event

_ORDER = {"create": 0, "update": 1, "delete": 2}

Precedence = tuple[str, int, str, str]


def effect(event: Event) -> str:
    """The effect of an event of a known type: create, update or delete."""
    return event.event_type.partition(":")[2].removesuffix("d")  # the verb of a reminder is in the past tense


def precedence(event: Event) -> Precedence:
    """The greatest decides: by time, effect, id and stream; Python compares strings by code point (§5)."""
    return event.occurred_at, _ORDER[effect(event)], event.id, event.pk


class Told(NamedTuple):
    """A fact: the event that caused it, created, updated or deleted, and the notification's `createdAt`."""

    cause: Event
    kind: str
    created_at: str


@dataclass
class Notification:
    """The expected notification, and the facts that subscribers must have received, oldest first."""

    decider: Event | None = None
    first_seen: str | None = None
    facts: list[Told] = field(default_factory=list)

    def apply(self, events: Iterable[Event]) -> None:
        """Apply the events of a batch, oldest first; those that were not overtaken before have their facts."""
        for event in sorted(events, key=precedence):
            if self.decider is None or precedence(event) >= precedence(self.decider):
                self._tell(event)
            self.merge([event])

    def merge(self, events: Iterable[Event]) -> None:
        """Merge stored events as a rebuild or an erasure does, without facts."""
        for event in events:
            if self.decider is None or precedence(event) > precedence(self.decider):
                self.decider = event
            self.first_seen = min(self.first_seen or event.occurred_at, event.occurred_at)

    def lose(self) -> None:
        """Lose the row; what subscribers were told stays true."""
        self.decider = self.first_seen = None

    def _tell(self, event: Event) -> None:
        """Tell subscribers once, in the words that follow from what they were last told."""
        if self.facts and precedence(event) <= precedence(self.facts[-1].cause):
            return
        live = bool(self.facts) and self.facts[-1].kind != "deleted"
        created_at = min(self.first_seen or event.occurred_at, event.occurred_at)
        if effect(event) != "delete":
            self.facts.append(Told(event, "updated" if live else "created", created_at))
        elif live:
            self.facts.append(Told(event, "deleted", created_at))
