"""Queries of the event store: the events of an item or of a user, in order, and the facts of events."""

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from heapq import merge
from typing import Any, Final, TypeVar

from event_service.adapters.batching import cut, send_in_batches
from event_service.adapters.event_items import (
    BY_USER,
    MAX_KEYS_PER_REQUEST,
    PK,
    SK,
    USER_ID,
    event_key,
    key_of,
    stored_event,
)
from event_service.adapters.paging import Page, Span, decode_cursor, encode_cursor
from event_service.deadline import Deadline
from event_service.domain.event import EventKey
from event_service.domain.links import possible_facts
from event_service.domain.state import StoredEvent, concerns, related_item_types
from event_service.errors import RecordError, Unavailable, out_of_time

_Request = TypeVar("_Request")

# Lambda limits a response to 6 MB, counted as JSON text within JSON:
# https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
# The links of the events are extra. A single event of 1 MiB, the largest, always fits, however it is escaped.
MAX_PAGE_BYTES: Final = 3 * 1024 * 1024
_ITEMS_PER_QUERY: Final = 500  # bounds the memory needed to read a whole stream


@dataclass(frozen=True, slots=True)
class EventHistory:
    """Reads the table with a botocore client, in the threads of `pool`."""

    client: Any
    table: str
    pool: Executor

    def item_page(self, pk: str, span: Span, *, limit: int, cursor: str | None = None, deadline: Deadline) -> Page:
        """Return a page of the events stored under a partition key; see `_page`."""
        return self._page(PK, pk, span, limit, cursor, deadline)

    def user_page(self, user_id: str, span: Span, *, limit: int, cursor: str | None = None, deadline: Deadline) -> Page:
        """Return a page of a user's events; facts are not in the index and not on the page. See `_page`."""
        return self._page(USER_ID, user_id, span, limit, cursor, deadline)

    def _page(self, name: str, value: str, span: Span, limit: int, cursor: str | None, deadline: Deadline) -> Page:
        """Return the first events after the cursor, at most `limit` of them and at most `MAX_PAGE_BYTES`: one request.

        A cursor is a position in the order, not a count: events written between two pages neither shift nor repeat
        others.

        Raises:
            InvalidCursor: the cursor does not come from this query.
            Unavailable: DynamoDB did not answer.
            UnreadableItem: an item does not contain a readable event.

        """
        start = None if cursor is None else decode_cursor(cursor, name, value, span)
        request = self._request(name, value, span) | {"Limit": limit}
        answer = self._query(request | ({"ExclusiveStartKey": start} if start else {}), deadline)
        events: list[StoredEvent] = []
        size = 0
        last = answer.get("LastEvaluatedKey")
        for item in answer["Items"]:
            event = stored_event(item)
            size += len(json.dumps(event.to_json()))
            if events and size > MAX_PAGE_BYTES:
                break
            events.append(event)
        if len(events) < len(answer["Items"]):
            last = answer["Items"][len(events) - 1]
        return Page(tuple(events), encode_cursor(name, value, last) if last else None)

    def item_events(
        self,
        item_type: str,
        item_id: str,
        span: Span,
        *,
        newest_first: bool = False,
        step: int = _ITEMS_PER_QUERY,
        deadline: Deadline,
    ) -> Iterator[StoredEvent]:
        """Yield the events of an item's notification by instant, the commands that address the item among them.

        Queries are sent as events are consumed, `step` items at first.

        Raises:
            Unavailable: DynamoDB did not answer.
            UnreadableItem: an item does not contain a readable event.

        """
        streams = [
            self._stream(f"{related}#{item_id}", span, newest_first=newest_first, step=step, deadline=deadline)
            for related in related_item_types(item_type)
        ]
        events = merge(*streams, key=lambda event: event.occurred_at, reverse=newest_first)
        return (event for event in events if concerns(event, item_type))

    def _stream(
        self, pk: str, span: Span, *, newest_first: bool, step: int, deadline: Deadline
    ) -> Iterator[StoredEvent]:
        request = self._request(PK, pk, span) | {"ScanIndexForward": not newest_first, "Limit": step}
        while True:
            answer = self._query(request, deadline)
            yield from map(stored_event, answer["Items"])
            if "LastEvaluatedKey" not in answer:
                return
            request |= {"ExclusiveStartKey": answer["LastEvaluatedKey"], "Limit": _ITEMS_PER_QUERY}

    def facts_of(self, events: Sequence[StoredEvent], deadline: Deadline) -> dict[EventKey, list[EventKey]]:
        """Return by event key the keys of each event's stored facts: one request per 100 possible keys.

        Raises:
            Unavailable: DynamoDB did not answer.

        """
        possible = {event.key: possible_facts(event) for event in events}
        keys = [key for facts in possible.values() for key in facts]
        answers = self._read(keys, self._exist, MAX_KEYS_PER_REQUEST, deadline)
        stored = {key for key, answer in zip(keys, answers, strict=True) if answer is True}
        return {event: [key for key in facts if key in stored] for event, facts in possible.items()}

    def _exist(self, keys: Sequence[EventKey]) -> list[bool | Unavailable]:
        request = {"Keys": [key_of(*key) for key in keys], "ProjectionExpression": f"{PK}, {SK}"}
        answer = self.client.batch_get_item(RequestItems={self.table: request})
        stored = {*map(event_key, answer["Responses"].get(self.table, []))}
        unread = {*map(event_key, answer.get("UnprocessedKeys", {}).get(self.table, {}).get("Keys", []))}
        late = Unavailable("event_store", "left a key unread", retryable=True)
        return [late if key in unread else key in stored for key in keys]

    def _request(self, name: str, value: str, span: Span) -> dict[str, Any]:
        low, high = span.keys()
        # DynamoDB does not offer consistent reads of a global secondary index.
        where: dict[str, Any] = {"ConsistentRead": True} if name == PK else {"IndexName": BY_USER}
        return where | {
            "TableName": self.table,
            "KeyConditionExpression": f"#name = :value AND {SK} BETWEEN :low AND :high",
            "ExpressionAttributeNames": {"#name": name},
            "ExpressionAttributeValues": {":value": {"S": value}, ":low": {"S": low}, ":high": {"S": high}},
        }

    def _query(self, request: dict[str, Any], deadline: Deadline) -> dict[str, Any]:
        answer: dict[str, Any]
        (answer,) = self._read(
            [request], lambda requests: [self.client.query(**each) for each in requests], 1, deadline
        )
        return answer

    def _read(
        self,
        requests: Sequence[_Request],
        send: Callable[[Sequence[_Request]], list[Any]],
        count: int,
        deadline: Deadline,
    ) -> list[Any]:
        """Send requests, `count` at a time, and those that fail transiently again, until the deadline.

        Raises:
            Unavailable: DynamoDB did not answer one of them.

        """
        answers: list[Any] = [out_of_time()] * len(requests)
        pending = [*range(len(requests))]
        attempts = deadline.attempts()
        while pending and next(attempts, None) is not None:
            answered = send_in_batches(
                [requests[number] for number in pending],
                send,
                backend="event_store",
                batches=partial(cut, count=count),
                pool=self.pool,
                deadline=deadline,
            )
            for number, answer in zip(pending, answered, strict=True):
                answers[number] = answer
            pending = [number for number in pending if _is_retryable(answers[number])]
        for answer in answers:
            if isinstance(answer, RecordError):
                raise answer
        return answers


def _is_retryable(answer: object) -> bool:
    return isinstance(answer, Unavailable) and answer.retryable
