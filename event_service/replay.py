"""Stored events, read back and folded into the notifications they decide."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from event_service.errors import Rejected
from event_service.events import Event, Rank
from event_service.instants import Instant
from event_service.items import Item, data_of
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
    except (KeyError, OSError, EOFError, ValueError) as exc:
        raise Rejected("invalid_field", "is missing or cannot be read", type(exc).__name__) from exc


@dataclass(slots=True)
class _Latest:
    """The event that decides a notification among those seen, the rank of the one before it, and the earliest."""

    rank: Rank
    notification: str
    before: Rank | None
    first_seen: Instant

    def request(self) -> str:
        occurred_at, deletion, event_id, pk = self.rank
        was_live = self.before is not None and not self.before[1]
        return compose_object(
            {
                "pk": dumps(pk),
                "sk": dumps(f"{occurred_at}#{event_id}"),
                "id": dumps(event_id),
                "deletion": "true" if deletion else "false",
                "wasLive": "true" if was_live else "false",
                "firstSeen": dumps(self.first_seen),
                "notification": self.notification,
            }
        )


def fold(items: Iterable[Item], refuse: Callable[[Item, Rejected], None]) -> Iterator[list[str]]:
    """Yield the requests that merge items with an effect, as `commands.merge` takes them.

    Each list has one for a user's item, and is of bounded size. What today's code would reject goes to `refuse`.
    Newest first is fastest: of an event that decides nothing only the validity counts.
    """
    latest: dict[tuple[str, str], _Latest] = {}
    held = 0
    for item in items:
        try:
            event = event_of(item)
            key, rank = (event.user_id, event.item_id), event.rank
            known = latest.get(key)
            if known is None or rank > known.rank:
                notification = project(event)
                held += len(notification) - (len(known.notification) if known else 0)
                before, first_seen = (known.rank, known.first_seen) if known else (None, event.occurred_at)
                latest[key] = _Latest(rank, notification, before, first_seen)
            else:
                read_data(event)
                if known.before is None or rank > known.before:
                    known.before = rank
        except Rejected as exc:
            refuse(item, exc)
            continue
        latest[key].first_seen = min(event.occurred_at, latest[key].first_seen)
        if held > _HELD_CHARACTERS:
            yield [each.request() for each in latest.values()]
            latest, held = {}, 0
    if latest:
        yield [each.request() for each in latest.values()]
