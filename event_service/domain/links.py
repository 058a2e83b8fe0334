"""How events and facts refer to each other: by keys that can be derived, so that no search is needed."""

from typing import Final

from event_service.domain.event import EventKey, notification_id
from event_service.domain.facts import Change, fact_of
from event_service.domain.state import Effect, StoredEvent, cause_pk, effect_of

_CHANGES: Final[dict[Effect, tuple[str, ...]]] = {
    "create": ("created", "updated"),
    "update": ("created", "updated"),
    "delete": ("deleted",),
}


def possible_facts(event: StoredEvent) -> list[EventKey]:
    """Return the keys that the fact of an event can have; an event that was overtaken has no fact."""
    effect = effect_of(event.event_type)
    if effect is None:
        return []
    id_ = notification_id(event.user_id, event.item_id)
    return [
        fact_of(Change(event.pk, event.sk, change, id_, event.user_id, None, "{}")).key for change in _CHANGES[effect]
    ]


def cause_of(fact: StoredEvent) -> EventKey | None:
    """Return the key of the event that caused a fact; None for an event that is not a fact."""
    if not fact.is_fact or fact.causation_id is None:
        return None
    return cause_pk(fact), f"{fact.occurred_at}#{fact.causation_id}"
