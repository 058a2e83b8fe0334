"""Stored events, read back and folded into the notifications they decide."""

from collections.abc import Callable, Iterable, Iterator

from event_service.errors import Rejected
from event_service.events import Event
from event_service.instants import Instant
from event_service.items import Item, data_of
from event_service.projection import project, read_data
from event_service.strict_json import compose_object, dumps

Rank = tuple[str, bool, str, str]

# A page of 1 MB may hold many times that, compressed.
_HELD_CHARACTERS = 4 * 1024 * 1024


def event_of(item: Item) -> Event:
    """Return the event that an item of the event store holds; a fact's item has no user and is none here.

    Raises:
        Rejected: the item lacks an attribute, or its data cannot be read.

    """
    try:
        item_type, _, item_id = item["pk"]["S"].partition("#")
        return Event(
            id=item["id"]["S"],
            occurred_at=Instant(item["occurredAt"]["S"]),
            event_type=item["eventType"]["S"],
            item_type=item_type,
            item_id=item_id,
            user_id=item["userId"]["S"],
            user_email=item["userEmail"]["S"] if "userEmail" in item else None,
            causation_id=item["causationId"]["S"] if "causationId" in item else None,
            data=data_of(item),
        )
    except (KeyError, OSError, EOFError, ValueError) as exc:
        raise Rejected("invalid_field", "is missing or cannot be read", type(exc).__name__) from exc


def rank_of(event: Event) -> Rank:
    """Return what decides between the events of a user's item: the greatest does (CONTRACT, section 5)."""
    return event.occurred_at, event.effect == "delete", event.id, event.pk


def fold(items: Iterable[Item], refuse: Callable[[Item, Rejected], None]) -> Iterator[list[str]]:
    """Yield the requests that merge items with an effect, as `merge_notifications` (0006) takes them.

    Each list has one for a user's item, and is of bounded size. What today's code would reject goes to `refuse`.
    Newest first is fastest: of an event that decides nothing only the validity counts.
    """
    latest: dict[tuple[str, str], tuple[Rank, str]] = {}
    first_seen: dict[tuple[str, str], Instant] = {}
    held = 0
    for item in items:
        try:
            event = event_of(item)
            key, rank = (event.user_id, event.item_id), rank_of(event)
            if key not in latest or rank > latest[key][0]:
                notification = project(event)
                held += len(notification) - (len(latest[key][1]) if key in latest else 0)
                latest[key] = rank, notification
            else:
                read_data(event)
        except Rejected as exc:
            refuse(item, exc)
            continue
        first_seen[key] = min(event.occurred_at, first_seen.get(key, event.occurred_at))
        if held > _HELD_CHARACTERS:
            yield _requests(latest, first_seen)
            latest, first_seen, held = {}, {}, 0
    if latest:
        yield _requests(latest, first_seen)


def _requests(latest: dict[tuple[str, str], tuple[Rank, str]], first_seen: dict[tuple[str, str], Instant]) -> list[str]:
    return [
        compose_object(
            {
                "pk": dumps(pk),
                "id": dumps(event_id),
                "deletion": "true" if deletion else "false",
                "firstSeen": dumps(first_seen[key]),
                "notification": notification,
            }
        )
        for key, ((_, deletion, event_id, pk), notification) in latest.items()
    ]
