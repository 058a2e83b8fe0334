import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import botocore.session
import pytest

from event_service.adapters.aws import make_transport
from event_service.adapters.data_plane import DynamoDb
from event_service.adapters.event_items import data_of
from event_service.adapters.event_store import EventStore
from event_service.codec.instants import Instant
from event_service.deadline import Deadline
from event_service.domain.event import Event
from event_service.errors import RecordError, Rejected, Unavailable
from tests.support.aws import Aws

EVENT = Event(
    id="event-1",
    occurred_at=Instant("2026-11-23T06:54:06.410000Z"),
    event_type="reminder:created",
    item_type="reminder",
    item_id="item-1",
    user_id="user-a",
    user_email=None,
    causation_id=None,
    data='{"a":1}',
)


def lean_client() -> DynamoDb:
    return DynamoDb(make_transport(botocore.session.get_session(), "dynamodb"))


class Faulty:
    """A client whose answers a test changes; everything else goes to the real one."""

    def __init__(self, client: Any, **changes: Callable[[Any], Any]) -> None:
        self.client = client
        self.changes = changes
        self.requests: list[str] = []

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(**parameters: Any) -> Any:
            self.requests.append(name)
            answer = getattr(self.client, name)(**parameters)
            return self.changes.get(name, lambda unchanged: unchanged)(answer)

        return call


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as executor:
        yield executor


@pytest.fixture
def store(aws: Aws, pool: ThreadPoolExecutor) -> EventStore:
    return EventStore(lean_client(), aws.table, pool)


def items(aws: Aws) -> list[Any]:
    pages = aws.dynamodb.get_paginator("scan").paginate(TableName=aws.table)
    found = [item for page in pages for item in page["Items"]]
    return sorted(found, key=lambda item: (item["pk"]["S"], item["sk"]["S"]))


def append(store: EventStore, *events: Event, seconds: float = 20) -> list[str | RecordError]:
    """Append events and return what became of each."""
    outcomes = store.append(events, Deadline.after(seconds))
    for event, outcome in zip(events, outcomes, strict=True):
        assert isinstance(outcome, RecordError) or outcome.event == event
    return [
        outcome if isinstance(outcome, RecordError) else "stored" if outcome.is_new else "duplicate"
        for outcome in outcomes
    ]


def test_an_event_is_stored_once(store: EventStore, aws: Aws) -> None:
    """A second append finds it and changes nothing, not even when it was recorded."""
    assert append(store, EVENT) == ["stored"]
    before = items(aws)
    assert append(store, EVENT) == ["duplicate"]
    assert items(aws) == before
    assert len(before) == 1


def test_a_different_payload_under_the_same_key_is_a_conflict(store: EventStore, aws: Aws) -> None:
    """The stored one stays."""
    append(store, EVENT)
    (outcome,) = append(store, replace(EVENT, data='{"a":2}'))
    assert isinstance(outcome, Rejected)
    assert outcome.reason == "conflict"
    assert data_of(items(aws)[0]) == EVENT.data


def test_events_that_occur_twice_in_a_batch_are_folded(store: EventStore, aws: Aws) -> None:
    """The first is stored; an equal one is its duplicate, another payload a conflict."""
    conflicting = replace(EVENT, data='{"a":2}')
    outcomes = append(store, EVENT, replace(EVENT, data='{"a": 1.0}'), conflicting, replace(EVENT, id="event-2"))
    assert outcomes[:2] == ["stored", "duplicate"]
    assert isinstance(outcomes[2], Rejected)
    assert outcomes[3] == "stored"
    assert len(items(aws)) == 2


def test_of_two_payloads_in_a_batch_the_stored_one_is_the_duplicate(store: EventStore) -> None:
    """Whichever comes first in the batch."""
    append(store, EVENT)
    conflict, duplicate = append(store, replace(EVENT, data='{"a":2}'), EVENT)
    assert isinstance(conflict, Rejected)
    assert duplicate == "duplicate"


def test_an_item_that_somebody_else_wrote_unreadably_fails_its_event_alone(store: EventStore, aws: Aws) -> None:
    """Its neighbours are stored, and the reason names the place and not the content."""
    key = {"pk": {"S": EVENT.pk}, "sk": {"S": EVENT.sk}}
    names = {"eventType": {"S": EVENT.event_type}, "userId": {"S": EVENT.user_id}, "eventDataEncoding": {"S": "gzip"}}
    aws.dynamodb.put_item(TableName=aws.table, Item={**key, **names, "eventData": {"B": b"no gzip"}})
    outcome, neighbour = append(store, EVENT, replace(EVENT, id="event-2"))
    assert isinstance(outcome, Unavailable)
    assert "BadGzipFile at " in str(outcome)
    assert neighbour == "stored"


def test_hundreds_of_events_take_a_request_per_25(aws: Aws, pool: ThreadPoolExecutor) -> None:
    """And as many again, plus one read per 100, to find out that all were there."""
    client = Faulty(lean_client())
    store = EventStore(client, aws.table, pool)
    events = [replace(EVENT, id=f"event-{number}") for number in range(110)]
    assert append(store, *events) == ["stored"] * 110
    assert client.requests == ["batch_execute_statement"] * 5
    client.requests.clear()
    assert append(store, *events) == ["duplicate"] * 110
    assert sorted(client.requests) == ["batch_execute_statement"] * 5 + ["batch_get_item"] * 2


def test_large_events_are_spread_over_requests(aws: Aws, pool: ThreadPoolExecutor) -> None:
    """No request is so large that it would not end in time."""
    client = Faulty(lean_client())
    noise = [random.Random(number).randbytes(190_000).hex() for number in range(12)]
    events = [replace(EVENT, id=f"event-{number}", data=f'{{"x":"{text}"}}') for number, text in enumerate(noise)]
    assert append(EventStore(client, aws.table, pool), *events) == ["stored"] * 12
    assert client.requests == ["batch_execute_statement"] * 2
    assert [data_of(item) for item in items(aws)] == [event.data for event in sorted(events, key=lambda e: e.id)]


def test_a_throttled_statement_inside_a_successful_answer_can_be_tried_again(
    aws: Aws, pool: ThreadPoolExecutor
) -> None:
    """It fails alone; the first attempt may even have stored the event: then it is a duplicate."""
    answers = iter([{"Error": {"Code": "ThrottlingError", "Message": "slow down"}}])

    def throttle_once(answer: Any) -> Any:
        return {"Responses": [next(answers, answer["Responses"][0]), *answer["Responses"][1:]]}

    store = EventStore(Faulty(lean_client(), batch_execute_statement=throttle_once), aws.table, pool)
    throttled, neighbour = append(store, EVENT, replace(EVENT, id="event-2"))
    assert isinstance(throttled, Unavailable)
    assert (str(throttled), throttled.retryable) == ("answered ThrottlingError", True)
    assert neighbour == "stored"
    assert append(store, EVENT) == ["duplicate"]


def test_a_refused_statement_fails_alone(aws: Aws, pool: ThreadPoolExecutor) -> None:
    """It is not worth another try; its neighbour is stored."""

    def refuse_first(answer: Any) -> Any:
        return {"Responses": [{"Error": {"Code": "AccessDenied", "Message": "no"}}, *answer["Responses"][1:]]}

    client = Faulty(lean_client(), batch_execute_statement=refuse_first)
    refused, stored = append(EventStore(client, aws.table, pool), EVENT, replace(EVENT, id="event-2"))
    assert isinstance(refused, Unavailable)
    assert (str(refused), refused.retryable) == ("answered AccessDenied", False)
    assert stored == "stored"
    assert client.requests == ["batch_execute_statement"]


@pytest.mark.parametrize("code", ["DuplicateItem", "ConditionalCheckFailed"])
def test_a_key_that_is_taken_is_a_duplicate_by_either_code(aws: Aws, pool: ThreadPoolExecutor, code: str) -> None:
    """AWS documents both for a condition that fails; the emulator sends the first."""
    client = Faulty(lean_client(), batch_execute_statement=lambda _: {"Responses": [{"Error": {"Code": code}}]})
    append(EventStore(lean_client(), aws.table, pool), EVENT)
    assert append(EventStore(client, aws.table, pool), EVENT) == ["duplicate"]


@pytest.mark.parametrize("listed", [False, True])
def test_an_unread_duplicate_is_not_taken_for_one(aws: Aws, pool: ThreadPoolExecutor, listed: bool) -> None:
    """Without the stored payload it cannot be compared: another attempt reads it, listed as unread or not."""
    unread = {aws.table: {"Keys": [{"pk": {"S": EVENT.pk}, "sk": {"S": EVENT.sk}}]}}
    client = Faulty(
        lean_client(),
        batch_get_item=lambda answer: answer | {"Responses": {}, "UnprocessedKeys": unread if listed else {}},
    )
    store = EventStore(client, aws.table, pool)
    assert append(store, EVENT) == ["stored"]
    (outcome,) = append(store, EVENT)
    assert isinstance(outcome, Unavailable)
    assert outcome.retryable


def test_an_unknown_table_fails_every_event(store: EventStore) -> None:
    """With DynamoDB's code as the reason."""
    outcomes = append(replace(store, table="no-such-table"), EVENT, replace(EVENT, id="event-2"))
    assert all(isinstance(outcome, Unavailable) for outcome in outcomes)
    assert all("ResourceNotFound" in str(outcome) for outcome in outcomes)


def test_without_time_nothing_is_sent(aws: Aws, pool: ThreadPoolExecutor) -> None:
    """The events go back to the queue."""
    client = Faulty(lean_client())
    (outcome,) = append(EventStore(client, aws.table, pool), EVENT, seconds=0)
    assert isinstance(outcome, Unavailable)
    assert outcome.reason == "deadline"
    assert client.requests == []


def test_retention_is_an_attribute_of_the_item(store: EventStore, aws: Aws) -> None:
    """The table's TTL acts on it."""
    append(replace(store, retention_days=1), EVENT)
    assert int(items(aws)[0]["expiresAt"]["N"]) > 1795400000
