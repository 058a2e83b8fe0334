"""The event store: an append-only DynamoDB table of every event."""

from collections.abc import Sequence
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal

from event_service.adapters.batching import cut, is_retryable, send_in_batches
from event_service.adapters.event_items import UNREADABLE, Item, rank_of_fact, same_payload, size_of, to_item
from event_service.codec.instants import now
from event_service.deadline import Deadline
from event_service.domain.event import Event, EventKey, Rank
from event_service.errors import RecordError, Rejected, Unavailable, internal_error

Appended = Literal["stored", "duplicate", "forgotten"]

# https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchExecuteStatement.html
_STATEMENTS_PER_REQUEST: Final = 25
# https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchGetItem.html
_KEYS_PER_REQUEST: Final = 100
_FACTS_PER_REQUEST: Final = 10  # of a notification: the last is enough, unless others are of the same instant
# The service takes 16 MB; large items are spread so that each request ends well within its time limit.
_BYTES_PER_REQUEST: Final = 2 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class EventStore:
    """The table, and the client and threads to reach it with; `retention_days` 0 keeps events for ever."""

    client: Any
    table: str
    pool: Executor
    retention_days: int = 0

    def append(self, events: Sequence[Event], deadline: Deadline) -> list[Appended | RecordError]:
        """Store each event once.

        A duplicate is an event that was there with the same payload, be it from an earlier try or from earlier in
        `events`.

        Returns:
            For each event `stored`, `duplicate`, `forgotten` (it was there, and its personal data was erased), or the
            error: `Rejected` where another payload has its key,
            `Unavailable` where DynamoDB did not do its part.

        """
        recorded_at = now()
        first: dict[EventKey, Event] = {}
        for event in events:
            first.setdefault(event.key, event)
        items = {key: to_item(event, recorded_at, self.retention_days) for key, event in first.items()}
        inserted = dict(zip(items, self._insert([*items.values()], deadline), strict=True))
        there = [key for key, outcome in inserted.items() if outcome is False]
        found = items | dict(zip(there, self._read(there, deadline), strict=True))
        outcomes: list[Appended | RecordError] = []
        for event in events:
            outcome, item = inserted[event.key], found[event.key]
            if outcome is True and event is first[event.key]:
                outcomes.append("stored")
            elif isinstance(outcome, Unavailable):
                outcomes.append(outcome)
            elif item is None:
                outcomes.append(Unavailable("event_store", "left a duplicate unread", retryable=True))  # or it expired
            elif isinstance(item, Unavailable):
                outcomes.append(item)
            elif "forgottenAt" in item:  # what it said is gone, and is not to come back
                outcomes.append("forgotten")
            else:
                outcomes.append(_compare(event, item))
        return outcomes

    def last_facts(self, notification_ids: Sequence[str], deadline: Deadline) -> list[Rank | Unavailable | None]:
        """Return for each notification the rank of the event that caused its last fact, None where it has none."""
        return send_in_batches(
            notification_ids,
            lambda ids: [self._last_fact(id_) for id_ in ids],
            backend="event_store",
            batches=partial(cut, count=1),
            pool=self.pool,
            deadline=deadline,
        )

    def _last_fact(self, notification_id: str) -> Rank | None:
        last: Rank | None = None
        request = {
            "TableName": self.table,
            "KeyConditionExpression": "pk = :stream",
            # With a user it is another producer's event.
            "FilterExpression": "attribute_not_exists(userId)",
            "ExpressionAttributeValues": {":stream": {"S": f"notification#{notification_id}"}},
            "ScanIndexForward": False,
            "ConsistentRead": True,
            "Limit": _FACTS_PER_REQUEST,
        }
        while True:
            answer = self.client.query(**request)
            for item in answer["Items"]:
                if last and item["sk"]["S"] < last[0]:
                    return last  # what follows is of an earlier instant
                with suppress(*UNREADABLE):
                    rank = rank_of_fact(item)
                    last = max(last or rank, rank)
            if "LastEvaluatedKey" not in answer:
                return last
            request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    def _insert(self, items: Sequence[Item], deadline: Deadline) -> list[bool | Unavailable]:
        batches = partial(cut, count=_STATEMENTS_PER_REQUEST, size=_BYTES_PER_REQUEST, size_of=size_of)
        return send_in_batches(
            items,
            self._insert_batch,
            backend="event_store",
            batches=batches,
            pool=self.pool,
            deadline=deadline,
        )

    def _insert_batch(self, items: Sequence[Item]) -> list[bool | Unavailable]:
        """Put up to 25 items, each unless its key is taken: PartiQL's INSERT is a put with that condition.

        Returns:
            For each item True where it was put, False where the key was taken.

        """
        statements = [{"Statement": self._statement(tuple(item)), "Parameters": [*item.values()]} for item in items]
        answer = self.client.batch_execute_statement(Statements=statements)
        return [_inserted(response.get("Error")) for response in answer.get("Responses", [])]

    def _statement(self, names: Sequence[str]) -> str:
        attributes = ", ".join(f"'{name}': ?" for name in names)
        return f'INSERT INTO "{self.table}" VALUE {{{attributes}}}'

    def _read(self, keys: Sequence[EventKey], deadline: Deadline) -> list[Item | Unavailable | None]:
        batches = partial(cut, count=_KEYS_PER_REQUEST)
        return send_in_batches(
            keys, self._read_batch, backend="event_store", batches=batches, pool=self.pool, deadline=deadline
        )

    def _read_batch(self, keys: Sequence[EventKey]) -> list[Item | Unavailable | None]:
        """Read up to 100 items, None where there is none; what does not fit the answer is for another request."""
        request = {"Keys": [{"pk": {"S": pk}, "sk": {"S": sk}} for pk, sk in keys], "ConsistentRead": True}
        answer = self.client.batch_get_item(RequestItems={self.table: request})
        items = {(item["pk"]["S"], item["sk"]["S"]): item for item in answer.get("Responses", {}).get(self.table, [])}
        left = answer.get("UnprocessedKeys", {}).get(self.table, {}).get("Keys", [])
        unread: dict[EventKey, Unavailable] = {
            (key["pk"]["S"], key["sk"]["S"]): Unavailable("event_store", "left an item unread", retryable=True)
            for key in left
        }
        return [unread.get(key, items.get(key)) for key in keys]


def _compare(event: Event, item: Item) -> Appended | RecordError:
    try:
        same = same_payload(event, item)
    except Exception as exc:  # noqa: BLE001  # somebody else wrote it and it cannot be read: no other event's failure
        return internal_error(exc)
    return "duplicate" if same else Rejected("conflict", "is stored already with a different payload", "id")


def _inserted(error: dict[str, str] | None) -> bool | Unavailable:
    if error is None:
        return True
    code = error.get("Code", "")
    if code in ("DuplicateItem", "ConditionalCheckFailed"):
        return False
    return Unavailable("event_store", f"answered {code}", retryable=is_retryable(code))
