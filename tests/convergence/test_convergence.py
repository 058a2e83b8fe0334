import contextlib
import io
import itertools
import json
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from event_service.handler import lambda_handler
from local.stack import Stack, create_database
from tests.conftest import Aws, make_aws
from tests.unit.messages import native, raw

Record = dict[str, Any]

_examples = itertools.count()


@dataclass(frozen=True)
class World:
    """A service of its own: resources, database, and processes that run the handler."""

    aws: Aws
    database_url: str
    processes: Sequence[ProcessPoolExecutor]

    def rows(self, user: str) -> list[Any]:
        with psycopg.connect(self.database_url) as connection:
            return connection.execute(
                "SELECT * FROM notifications WHERE user_id = %s ORDER BY item_id", (user,)
            ).fetchall()

    def outbox(self) -> list[Any]:
        with psycopg.connect(self.database_url) as connection:
            return connection.execute("SELECT event_pk, event_sk FROM outbox").fetchall()

    def events(self, user: str) -> list[Any]:
        """The stored events of a user; facts are not among them, they have no user."""
        answer = self.aws.dynamodb.query(
            TableName=self.aws.table,
            IndexName="by-user",
            KeyConditionExpression="userId = :user",
            ExpressionAttributeValues={":user": {"S": user}},
        )
        items = [{name: value for name, value in item.items() if name != "recordedAt"} for item in answer["Items"]]
        return sorted(items, key=lambda item: (item["pk"]["S"], item["sk"]["S"]))


def _make_world(stack: Stack, template: str, name: str, processes: int) -> World:
    aws, url = make_aws(stack), create_database(stack, name, template)
    environment = stack.environment() | {
        "DATABASE_URL": url,
        "EVENT_STORE_TABLE": aws.table,
        "NOTIFICATION_TOPIC_ARN": aws.topic_arn,
    }
    spawn = multiprocessing.get_context("spawn")
    pools = [ProcessPoolExecutor(1, spawn, _set_environment, (environment,)) for _ in range(processes)]
    return World(aws, url, pools)


@pytest.fixture(scope="module")
def worlds(stack: Stack, migrated_template: str) -> Iterator[tuple[World, World]]:
    """One in which two processes deliver at once and anyhow, and one for each event once and in order."""
    both = _make_world(stack, migrated_template, "anyhow", 2), _make_world(stack, migrated_template, "in_order", 1)
    yield both
    for process in (*both[0].processes, *both[1].processes):
        process.shutdown()


def _set_environment(environment: dict[str, str]) -> None:
    os.environ.update(environment)


def deliver(batches: list[list[Record]]) -> int:
    """Handle batches in this process; return how many records failed."""
    with contextlib.redirect_stdout(io.StringIO()):
        return sum(len(lambda_handler({"Records": batch}, None)["batchItemFailures"]) for batch in batches)


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(
            ["reminder:created", "reminder:updated", "reminder:deleted", "notification:update", "order:placed"]
        ),
        st.sampled_from(["item-1", "item-2"]),
        st.integers(0, 3),
        st.sampled_from("aB\u00e9\U0001f600"),
    ),
    min_size=1,
    max_size=8,
    unique_by=lambda event: (event[0].partition(":")[0], *event[1:]),
)


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=EVENTS, data=st.data())
def test_any_delivery_ends_in_the_same_state(
    worlds: tuple[World, World], events: list[Any], data: st.DataObject
) -> None:
    """Any permutation, repetition, batching and concurrency: the same rows, the same stored events, nothing pending."""
    user = f"user-{next(_examples)}"
    records = [_record(user, *event) for event in sorted(events, key=lambda event: event[2:])]
    repeated = records + data.draw(st.lists(st.sampled_from(records), max_size=8), label="repeated")
    shuffled = data.draw(st.permutations(repeated), label="order")
    size = data.draw(st.integers(1, 5), label="batch size")
    batches = [shuffled[start : start + size] for start in range(0, len(shuffled), size)]
    anyhow, in_order = worlds

    deliveries = [process.submit(deliver, batches[number::2]) for number, process in enumerate(anyhow.processes)]
    reference = in_order.processes[0].submit(deliver, [[record] for record in records])

    assert [delivery.result() for delivery in deliveries] == [0, 0]
    assert reference.result() == 0
    assert anyhow.rows(user) == in_order.rows(user)
    assert anyhow.events(user) == in_order.events(user)
    assert anyhow.outbox() == []


def _record(user: str, event_type: str, item: str, second: int, name: str) -> Record:
    body = native(
        id=f"{name}-{user}",
        eventType=event_type,
        userId=user,
        itemId=f"{item}-{user}",
        occurredAt=f"2026-11-23T12:00:0{second}Z",
        eventData={"date": "2027-01-01T08:00:00Z", "message": f"{event_type} {second} {name}"},
    )
    return raw(json.dumps(body), None) | {"messageId": f"{event_type}-{item}-{second}-{name}"}
