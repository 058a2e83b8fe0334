"""Reading the event store: an item's events and a user's, in order, page by page."""

import binascii
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, Final

from event_service.adapters.batching import send_in_batches
from event_service.adapters.event_items import UNREADABLE, Item, data_of
from event_service.codec.json_text import dumps, string_of, texts_of
from event_service.deadline import Deadline
from event_service.domain.state import Record
from event_service.errors import Unavailable

# An answer of Lambda has at most 6 MB, as JSON text within JSON:
# https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
# One event alone, of at most 1 MiB, is below this however it is escaped.
MAX_PAGE_BYTES: Final = 4 * 1024 * 1024
_ITEMS_PER_STEP: Final = 500  # while a stream is walked: bounds what is held in memory


# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html#limits-partition-sort-keys
_MAX_KEY_BYTES: Final = {"pk": 2048, "sk": 1024}


class InvalidCursor(ValueError):
    """A cursor that this query did not give."""


class Unreadable(Exception):
    """An item of the event store holds no event that can be read; the text names its key."""


@dataclass(frozen=True, slots=True)
class Span:
    """From an instant (`start`, inclusive) to another (`end`); "" leaves a side open."""

    start: str = ""
    end: str = ""
    includes_end: bool = False

    def keys(self) -> tuple[str, str]:
        """Return the least and the greatest text that a sort key, `<instant>#<id>`, can have."""
        if not self.end:
            return self.start or "0", ":"  # what follows the digits
        return self.start or "0", self.end + ("$" if self.includes_end else "")  # what follows "#"; or what precedes it


ALL: Final = Span()


@dataclass(frozen=True, slots=True)
class Page:
    """Events in order, each with its JSON text, and the cursor for those after; None where none follow."""

    events: tuple[str, ...]
    cursor: str | None


@dataclass(frozen=True, slots=True)
class EventHistory:
    """The table, and the client and thread to reach it with."""

    client: Any
    table: str
    pool: Executor

    def item_page(self, pk: str, span: Span, *, limit: int, cursor: str | None = None, deadline: Deadline) -> Page:
        """Return a page of an item's events: one request. See `_page`."""
        return self._page("pk", pk, span, limit, cursor, deadline)

    def user_page(self, user_id: str, span: Span, *, limit: int, cursor: str | None = None, deadline: Deadline) -> Page:
        """Return a page of the events with this `userId`; facts have none and so are not there. See `_page`."""
        return self._page("userId", user_id, span, limit, cursor, deadline)

    def _page(self, name: str, value: str, span: Span, limit: int, cursor: str | None, deadline: Deadline) -> Page:
        """Return the first events after the cursor, as many as the limit and the size of an answer allow.

        A cursor is a place in the order, not a number of events: what is written meanwhile neither shifts nor repeats
        anything.

        Raises:
            InvalidCursor: the cursor is not one of this query's.
            Unavailable: DynamoDB did not answer.
            Unreadable: an item holds no event.

        """
        start = None if cursor is None else _start_key(cursor, name, value, span)
        request = self._request(name, value, span) | {"Limit": limit}
        answer = self._query(request | ({"ExclusiveStartKey": start} if start else {}), deadline)
        events: list[str] = []
        size = 0
        last = answer.get("LastEvaluatedKey")
        for item in answer["Items"]:
            text = record_of(item).to_json()
            size += len(json.dumps(text))
            if events and size > MAX_PAGE_BYTES:
                break
            events.append(text)
        if len(events) < len(answer["Items"]):
            last = answer["Items"][len(events) - 1]
        return Page(tuple(events), _cursor(name, value, last) if last else None)

    def records(
        self, pk: str, span: Span = ALL, *, newest_first: bool = False, step: int = _ITEMS_PER_STEP, deadline: Deadline
    ) -> Iterator[Record]:
        """Yield an item's events one after the other, reading as they are asked for.

        Raises:
            Unavailable: DynamoDB did not answer.
            Unreadable: an item holds no event.

        """
        request = self._request("pk", pk, span) | {"ScanIndexForward": not newest_first, "Limit": step}
        while True:
            answer = self._query(request, deadline)
            yield from map(record_of, answer["Items"])
            if "LastEvaluatedKey" not in answer:
                return
            request |= {"ExclusiveStartKey": answer["LastEvaluatedKey"], "Limit": _ITEMS_PER_STEP}

    def _request(self, name: str, value: str, span: Span) -> dict[str, Any]:
        low, high = span.keys()
        # An index cannot be read consistently.
        where: dict[str, Any] = {"ConsistentRead": True} if name == "pk" else {"IndexName": "by-user"}
        return where | {
            "TableName": self.table,
            "KeyConditionExpression": "#name = :value AND sk BETWEEN :low AND :high",
            "ExpressionAttributeNames": {"#name": name},
            "ExpressionAttributeValues": {":value": {"S": value}, ":low": {"S": low}, ":high": {"S": high}},
        }

    def _query(self, request: dict[str, Any], deadline: Deadline) -> dict[str, Any]:
        def send(requests: Sequence[dict[str, Any]]) -> list[dict[str, Any] | Unavailable]:
            return [self.client.query(**each) for each in requests]

        (answer,) = send_in_batches(
            [request], send, backend="event_store", batches=lambda all_: [all_], pool=self.pool, deadline=deadline
        )
        if isinstance(answer, Unavailable):
            raise answer
        return answer


def record_of(item: Item) -> Record:
    """Return the event of an item; a fact's user stands in its data only.

    Raises:
        Unreadable: another writer, or some damage, has left it without one.

    """
    texts = {name: typed.get("S") for name, typed in item.items()}
    try:
        data = data_of(item)
        return Record(
            pk=item["pk"]["S"],
            sk=item["sk"]["S"],
            id=item["id"]["S"],
            event_type=item["eventType"]["S"],
            user_id=texts.get("userId") or string_of(texts_of(data)["userId"]) or "",
            user_email=texts.get("userEmail"),
            occurred_at=item["occurredAt"]["S"],
            recorded_at=item["recordedAt"]["S"],
            causation_id=texts.get("causationId"),
            data=data,
        )
    except UNREADABLE as exc:
        raise Unreadable(f"the event store's item {texts.get('pk')} {texts.get('sk')} cannot be read") from exc


def _cursor(name: str, value: str, key: Item) -> str:
    parts = [name, value, key["pk"]["S"], key["sk"]["S"]]
    return urlsafe_b64encode(dumps(parts).encode()).decode().rstrip("=")


def _start_key(cursor: str, name: str, value: str, span: Span) -> dict[str, Any]:
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        parts = json.loads(urlsafe_b64decode(padded.encode("ascii")))
        json.dumps(parts, ensure_ascii=False).encode()  # no lone surrogates: DynamoDB would not take them
    except (ValueError, RecursionError, binascii.Error) as exc:
        raise InvalidCursor("is no cursor of this API") from exc
    if not (isinstance(parts, list) and len(parts) == 4 and all(isinstance(part, str) for part in parts)):  # noqa: PLR2004
        raise InvalidCursor("is no cursor of this API")
    if any(len(text.encode()) > most for text, most in zip(parts[2:], _MAX_KEY_BYTES.values(), strict=True)):
        raise InvalidCursor("is no cursor of this API")
    low, high = span.keys()
    if parts[:2] != [name, value] or (name == "pk" and parts[2] != value) or not low <= parts[3] <= high:
        raise InvalidCursor("belongs to another query")
    if not parts[2]:
        raise InvalidCursor("is no cursor of this API")
    key = {"pk": {"S": parts[2]}, "sk": {"S": parts[3]}}
    return key if name == "pk" else key | {"userId": {"S": value}}
