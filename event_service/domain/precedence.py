"""Which event of a notification decides it."""

from typing import Final, NamedTuple

from event_service.codec.instants import Instant
from event_service.domain.event import Effect, Event

# At the same instant, a deletion beats an update and an update beats a creation. The SQL enum `effect` has this order.
EFFECTS: Final[tuple[Effect, ...]] = ("create", "update", "delete")


class Precedence(NamedTuple):
    """The greatest decides: the latest, then the last of `EFFECTS`, then the greatest id, then the greatest stream.

    `effect` is a position in `EFFECTS`; strings compare by code point. The SQL type `precedence` compares the same way.
    """

    occurred_at: Instant
    effect: int
    id: str
    stream: str


def precedence_of(occurred_at: Instant, effect: Effect, event_id: str, stream: str) -> Precedence:
    """Return the precedence of the event that these fields identify."""
    return Precedence(occurred_at, EFFECTS.index(effect), event_id, stream)


def precedence(event: Event, effect: Effect) -> Precedence:
    """Return the precedence of an event with an effect."""
    return precedence_of(event.occurred_at, effect, event.id, event.pk)
