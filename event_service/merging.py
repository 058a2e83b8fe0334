"""Stored events, read back and folded into the notifications they decide."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator

from event_service.adapters.event_items import UNREADABLE, Item, data_of
from event_service.codec.instants import Instant, usable_instant
from event_service.codec.json_text import compose_object, dumps, parse_object
from event_service.domain.event import Event, Rank
from event_service.domain.projection import project, read_data
from event_service.errors import Rejected

# A page of 1 MB may hold many times that, compressed.
_HELD_CHARACTERS = 4 * 1024 * 1024


def event_of(item: Item) -> Event:
    """Return the event that an item of the event store holds; a fact's item has no user and is none here.

    Raises:
        Rejected: nothing that this service stores looks like it.

    """
    item_type, _, item_id = _text(item, "pk").partition("#")
    try:
        data = data_of(item)
    except UNREADABLE as exc:
        raise Rejected("invalid_field", "is missing or cannot be read", "eventData") from exc
    parse_object(data, "eventData")
    event = Event(
        id=_text(item, "id"),
        occurred_at=Instant(_text(item, "occurredAt")),
        event_type=_text(item, "eventType"),
        item_type=item_type,
        item_id=item_id,
        user_id=_text(item, "userId"),
        user_email=_text(item, "userEmail") if "userEmail" in item else None,
        causation_id=_text(item, "causationId") if "causationId" in item else None,
        data=data,
    )
    if usable_instant(event.occurred_at) != event.occurred_at:
        raise Rejected("invalid_field", "is not an instant as this service writes it", "occurredAt")
    if event.event_type.partition(":")[0] != item_type:
        raise Rejected("invalid_field", "does not agree with the item's key", "eventType")
    if event.sk != item["sk"]["S"]:
        raise Rejected("invalid_field", "with occurredAt does not agree with the item's key", "id")
    return event


def _text(item: Item, name: str) -> str:
    try:
        return str(item[name]["S"])
    except KeyError as exc:
        raise Rejected("invalid_field", "is missing or no text", name) from exc


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
            found[_text(item, "userId"), _text(item, "pk").partition("#")[2]].append(item)
        except Rejected as exc:
            refuse(item, exc)
    return found


def _request(chain: Iterable[Item], refuse: Callable[[Item, Rejected], None]) -> str | None:
    """Return what merges the events of a notification; one after the other, because their data may be large."""
    first_seen: Instant | None = None
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
        first_seen = min(first_seen or event.occurred_at, event.occurred_at)
    if latest is None:
        return None
    (_, deletion, event_id, pk), notification = latest
    return compose_object(
        {
            "pk": dumps(pk),
            "id": dumps(event_id),
            "deletion": dumps(deletion),
            "firstSeen": dumps(first_seen),
            "notification": notification,
        }
    )
