"""Links between events and their facts: the keys of each follow from the other, without a search."""

from event_service.domain.event import EventKey, notification_id
from event_service.domain.facts import possible_fact_ids
from event_service.domain.state import StoredEvent, cause_pk


def possible_facts(event: StoredEvent) -> list[EventKey]:
    """Return the keys that the fact of an event can have; an event that was overtaken has no fact."""
    if (known := event.known_type) is None:
        return []
    stream = f"notification#{notification_id(event.user_id, known.subject, event.item_id)}"
    return [(stream, f"{event.occurred_at}#{fact_id}") for fact_id in possible_fact_ids(event.key, known.effect)]


def cause_of(fact: StoredEvent) -> EventKey | None:
    """Return the key of the event that caused a fact; None for an event that is not a fact."""
    if not fact.is_fact or fact.causation_id is None:
        return None
    return cause_pk(fact), f"{fact.occurred_at}#{fact.causation_id}"
