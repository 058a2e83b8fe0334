"""Merges stored events into notifications without making facts, for rebuilds and erasures.

An event whose fact is stored, or waits in the outbox, counts as announced. One without a fact, because its batch died
or is still running, gets it when it is applied.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Final

from event_service.adapters.event_items import EVENT_TYPE, PK, USER_ID, Item, event_key, event_of, text_of
from event_service.codec.json_text import dumps, json_object
from event_service.domain.event import KNOWN_TYPES, Event, EventKey, KnownType
from event_service.domain.facts import possible_fact_ids
from event_service.domain.precedence import EFFECTS, Precedence, precedence
from event_service.domain.projection import check_data, project
from event_service.errors import Rejected

if TYPE_CHECKING:
    from event_service.codec.instants import Instant

# A page of 1 MB may hold many times that, compressed.
_HELD_CHARACTERS: Final = 4 * 1024 * 1024

Refuse = Callable[[EventKey, str], None]
_Notification = tuple[str, str, str]  # user, subject and item


def announced_keys(items: Iterable[Item], known_facts: Callable[[list[str]], AbstractSet[str]]) -> set[EventKey]:
    """Return the keys of the events in items that have a fact; `known_facts` returns which of some ids are of facts."""
    keys = {
        id_: event_key(item)
        for item in items
        if (known := KNOWN_TYPES.get(text_of(item, EVENT_TYPE) or ""))
        for id_ in possible_fact_ids(event_key(item), known.effect)
    }
    return {keys[id_] for id_ in known_facts([*keys])}


def merge_requests(items: Iterable[Item], announced: AbstractSet[EventKey], refuse: Refuse) -> Iterator[list[str]]:
    """Yield the requests that merge items with an effect, as `upkeep.merge` takes them.

    Each list has one request per notification and is of bounded size. `announced` are the keys of events with a fact.
    Events that today's code would reject go to `refuse`. Newest first is fastest: an event that decides nothing is only
    validated.
    """
    requests: list[str] = []
    held = 0
    for items_of_one in _by_notification(items, refuse).values():
        if request := _request(items_of_one, announced, refuse):
            requests.append(request)
            held += len(request)
        if held > _HELD_CHARACTERS:
            yield requests
            requests, held = [], 0
    if requests:
        yield requests


def _by_notification(items: Iterable[Item], refuse: Refuse) -> dict[_Notification, list[tuple[Item, KnownType]]]:
    found: dict[_Notification, list[tuple[Item, KnownType]]] = defaultdict(list)
    for item in items:
        known = KNOWN_TYPES.get(text_of(item, EVENT_TYPE) or "")
        user_id = text_of(item, USER_ID)
        if known and user_id is None:
            refuse(event_key(item), f"{USER_ID}: is missing or not a text")
        elif known and user_id is not None:
            item_id = (text_of(item, PK) or "").partition("#")[2]
            found[user_id, known.subject, item_id].append((item, known))
    return found


def _request(items: Iterable[tuple[Item, KnownType]], announced: AbstractSet[EventKey], refuse: Refuse) -> str | None:
    """Return the request that merges a notification's events; they are read one at a time because they may be large."""
    first_seen: Instant | None = None
    deciding: tuple[Precedence, Event, KnownType, str] | None = None
    told: list[Precedence] = []
    for item, known in items:
        try:
            event = event_of(item)
            order = precedence(event, known.effect)
            if deciding is None or order > deciding[0]:
                deciding = order, event, known, project(event, known)
            else:
                check_data(event, known.effect)
        except Rejected as exc:
            refuse(event_key(item), str(exc))
            continue
        first_seen = min(first_seen or event.occurred_at, event.occurred_at)
        if event.key in announced:
            told.append(order)
    if deciding is None:
        return None
    _, event, known, notification = deciding
    return json_object(
        {
            "pk": dumps(event.pk),
            "id": dumps(event.id),
            "effect": dumps(known.effect),
            "subject": dumps(known.subject),
            "firstSeen": dumps(first_seen),
            "announced": _composite(max(told, default=None)),
            "notification": notification,
        }
    )


def _composite(order: Precedence | None) -> str:
    """Return a value of the SQL type `precedence` as JSON."""
    if order is None:
        return "null"
    return dumps(
        {
            "occurred_at": order.occurred_at,
            "effect": EFFECTS[order.effect],
            "event_id": order.id,
            "stream": order.stream,
        }
    )
