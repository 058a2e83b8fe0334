"""Stored events, read back and folded into the notifications they decide."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator

from event_service.errors import Rejected
from event_service.events import Event, Rank
from event_service.instants import Instant
from event_service.items import UNREADABLE, Item, data_of
from event_service.projection import project, read_data
from event_service.strict_json import compose_object, dumps

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
    except UNREADABLE as exc:
        field = str(exc.args[0]) if isinstance(exc, KeyError) else "eventData"
        raise Rejected("invalid_field", "is missing or cannot be read", field) from exc


def fold(items: Iterable[Item], refuse: Callable[[Item, Rejected], None]) -> Iterator[list[str]]:
    """Yield the requests that merge items with an effect, as `commands.merge` takes them.

    Each list has one for a user's item, and is of bounded size. What today's code would reject goes to `refuse`.
    Newest first is fastest: of an event that decides nothing only the validity counts.
    """
    requests: list[str] = []
    held = 0
    for chain in _by_notification(items, refuse).values():
        if request := _request(chain, refuse):
            requests.append(request)
            held += len(request)
        if held > _HELD_CHARACTERS:
            yield requests
            requests, held = [], 0
    if requests:
        yield requests


def _by_notification(
    items: Iterable[Item], refuse: Callable[[Item, Rejected], None]
) -> dict[tuple[str, str], list[Item]]:
    found: dict[tuple[str, str], list[Item]] = defaultdict(list)
    for item in items:
        try:
            found[item["userId"]["S"], item["pk"]["S"].partition("#")[2]].append(item)
        except KeyError as exc:
            refuse(item, Rejected("invalid_field", "is missing", str(exc.args[0])))
    return found


def _request(chain: Iterable[Item], refuse: Callable[[Item, Rejected], None]) -> str | None:
    """Return what merges the events of a notification; one after the other, because their data may be large."""
    ranks: list[Rank] = []
    latest: tuple[Rank, str] | None = None
    for item in chain:
        try:
            event = event_of(item)
            if latest is None or event.rank > latest[0]:
                latest = event.rank, project(event)
            else:
                read_data(event)
        except Rejected as exc:
            refuse(item, exc)
            continue
        ranks.append(event.rank)
    if latest is None:
        return None
    (_, deletion, event_id, pk), notification = latest
    return compose_object(
        {
            "pk": dumps(pk),
            "id": dumps(event_id),
            "deletion": dumps(deletion),
            "firstSeen": dumps(min(ranks)[0]),
            "chain": dumps([dict(zip(("occurredAt", "deletion", "id", "pk"), rank, strict=True)) for rank in ranks]),
            "notification": notification,
        }
    )
