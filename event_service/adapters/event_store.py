"""The event store: an append-only DynamoDB table of every event."""

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from event_service.adapters.batching import cut, is_retryable, send_in_batches
from event_service.adapters.event_items import (
    MAX_KEYS_PER_REQUEST,
    RECORDED_AT,
    Item,
    differing_fields,
    event_key,
    event_of,
    is_fact,
    is_forgotten,
    key_of,
    rough_size_of,
    text_of,
    to_item,
)
from event_service.codec.instants import now
from event_service.deadline import Deadline
from event_service.domain.event import Event, EventKey
from event_service.errors import RecordError, Rejected, Unavailable, internal_error

# https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchExecuteStatement.html
_STATEMENTS_PER_REQUEST: Final = 25
# The service takes 16 MB; large items are spread so that each request ends well within its time limit.
_BYTES_PER_REQUEST: Final = 2 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Appended:
    """An event that is in the event store; `is_new` if this call stored it.

    `event` is the one to continue with: the stored one, emptied, if an erasure has forgotten its personal data.
    """

    event: Event
    is_new: bool


@dataclass(frozen=True, slots=True)
class EventStore:
    """The table, and the client and threads to reach it with; `retention_days` 0 keeps events forever."""

    client: Any
    table: str
    pool: Executor
    retention_days: int = 0

    def append(self, events: Sequence[Event], deadline: Deadline) -> list[Appended | RecordError]:
        """Store each event once; an event that is there with the same payload is a duplicate, not an error.

        Returns:
            For each event what is stored, or its error: `Rejected` if another payload has its key, `Unavailable` if
            DynamoDB is unavailable.

        """
        if not events:
            return []
        recorded_at = now()
        first: dict[EventKey, Event] = {}
        for event in events:
            first.setdefault(event.key, event)
        items = {key: to_item(event, recorded_at, self.retention_days) for key, event in first.items()}
        inserted = dict(zip(items, self._insert([*items.values()], deadline), strict=True))
        taken = [key for key, outcome in inserted.items() if outcome is False]
        found = dict(zip(taken, self._read(taken, deadline), strict=True)) if taken else {}
        outcomes: list[Appended | RecordError] = []
        for event in events:
            outcome = inserted[event.key]
            if isinstance(outcome, RecordError):
                outcomes.append(outcome)
            elif outcome and event is first[event.key]:
                outcomes.append(Appended(event, is_new=True))
            else:
                outcomes.append(_duplicate(event, found.get(event.key, items[event.key])))
        return outcomes

    def _insert(self, items: Sequence[Item], deadline: Deadline) -> list[bool | RecordError]:
        """Put items, each unless its key is taken; return for each whether it was put, or its error."""
        return send_in_batches(
            items,
            self._insert_batch,
            backend="event_store",
            batches=partial(cut, count=_STATEMENTS_PER_REQUEST, size=_BYTES_PER_REQUEST, size_of=rough_size_of),
            pool=self.pool,
            deadline=deadline,
        )

    def _insert_batch(self, items: Sequence[Item]) -> list[bool | RecordError]:
        """Put up to 25 items: PartiQL's INSERT is a put on the condition that the key is not taken."""
        statements = [{"Statement": self._statement(tuple(item)), "Parameters": [*item.values()]} for item in items]
        answer = self.client.batch_execute_statement(Statements=statements)
        return [_inserted(response.get("Error")) for response in answer.get("Responses", [])]

    def _statement(self, names: Sequence[str]) -> str:
        attributes = ", ".join(f"'{name}': ?" for name in names)
        return f'INSERT INTO "{self.table}" VALUE {{{attributes}}}'

    def _read(self, keys: Sequence[EventKey], deadline: Deadline) -> list[Item | RecordError | None]:
        return send_in_batches(
            keys,
            self._read_batch,
            backend="event_store",
            batches=partial(cut, count=MAX_KEYS_PER_REQUEST),
            pool=self.pool,
            deadline=deadline,
        )

    def _read_batch(self, keys: Sequence[EventKey]) -> list[Item | None]:
        """Read up to 100 items; None if there is none, or if DynamoDB left it unprocessed."""
        # Consistent, because what is compared was written a moment ago, perhaps by another delivery.
        request = {"Keys": [key_of(*key) for key in keys], "ConsistentRead": True}
        answer = self.client.batch_get_item(RequestItems={self.table: request})
        items = {event_key(item): item for item in answer.get("Responses", {}).get(self.table, [])}
        return [items.get(key) for key in keys]


def _duplicate(event: Event, item: Item | RecordError | None) -> Appended | RecordError:
    """Compare an event with the item that has its key."""
    if isinstance(item, RecordError):
        return item
    if item is None:  # left unread, or expired since
        return Unavailable("event_store", "did not return a duplicate", retryable=True)
    try:
        if is_forgotten(item):
            # The item of a fact is not an event that could be applied.
            return Appended(event if event.is_fact or is_fact(item) else event_of(item), is_new=False)
        fields = differing_fields(event, item)
    except Exception as exc:  # noqa: BLE001  # another writer's item, or a damaged one: no other event's failure
        return internal_error(exc)
    if not fields:
        return Appended(event, is_new=False)
    problem = f"is already stored with another {', '.join(fields)} (recorded at {text_of(item, RECORDED_AT)})"
    return Rejected("conflict", problem, "id")


def _inserted(error: dict[str, str] | None) -> bool | RecordError:
    if error is None:
        return True
    code = error.get("Code", "")
    if code in ("DuplicateItem", "ConditionalCheckFailed"):
        return False
    return Unavailable("event_store", f"answered {code}", retryable=is_retryable(code))
