"""The order, repetition, batching and concurrency of deliveries do not matter."""

import contextlib
import io
import itertools
import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from event_service.handler import lambda_handler
from local.stack import Stack, create_database
from tests.support.aws import function_environment, make_aws
from tests.support.event_items import events_of_user
from tests.support.histories import HISTORIES
from tests.support.messages import Record, native, raw
from tests.support.sampling import examples
from tests.support.world import World

_numbers = itertools.count()


@dataclass(frozen=True)
class Service:
    """A world, and processes that run its handler."""

    world: World
    processes: list[ProcessPoolExecutor]

    def stop(self) -> None:
        """End the processes."""
        for process in self.processes:
            process.shutdown()
        self.world.close()


def _start(stack: Stack, template: str, name: str, processes: int) -> Service:
    world = World(make_aws(stack), create_database(stack, name, template))
    environment = function_environment(stack, world.aws, world.database_url)
    spawn = multiprocessing.get_context("spawn")
    return Service(world, [ProcessPoolExecutor(1, spawn, _set_environment, (environment,)) for _ in range(processes)])


@pytest.fixture(scope="module")
def services(stack: Stack, migrated_template: str) -> Iterator[tuple[Service, Service]]:
    """One to which two processes deliver concurrently in any order, and one that gets each event once, in order."""
    both = _start(stack, migrated_template, "concurrent", 2), _start(stack, migrated_template, "in_order", 1)
    yield both
    for service in both:
        service.stop()


def _set_environment(environment: dict[str, str]) -> None:
    os.environ.update(environment)


def deliver(batches: list[list[Record]]) -> int:
    """Handle batches in this process; return how many records failed."""
    with contextlib.redirect_stdout(io.StringIO()):
        return sum(len(lambda_handler({"Records": batch}, None)["batchItemFailures"]) for batch in batches)


@settings(
    max_examples=examples(25, 200),
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(events=HISTORIES, data=st.data())
def test_any_delivery_ends_in_the_same_state(
    services: tuple[Service, Service], events: list[Any], data: st.DataObject
) -> None:
    """Any permutation, repetition, batching and concurrency: the same rows, the same stored events, nothing pending."""
    user = f"user-{next(_numbers)}"
    records = [_record(user, *event) for event in sorted(events, key=lambda event: event[2:])]
    repeated = records + data.draw(st.lists(st.sampled_from(records), max_size=8), label="repeated")
    shuffled = data.draw(st.permutations(repeated), label="order")
    size = data.draw(st.integers(1, 5), label="batch size")
    batches = [shuffled[start : start + size] for start in range(0, len(shuffled), size)]
    concurrent, in_order = services

    deliveries = [process.submit(deliver, batches[number::2]) for number, process in enumerate(concurrent.processes)]
    reference = in_order.processes[0].submit(deliver, [[record] for record in records])

    assert [delivery.result() for delivery in deliveries] == [0, 0]
    assert reference.result() == 0
    assert concurrent.world.tables.rows_of_user(user) == in_order.world.tables.rows_of_user(user)
    assert [service.world.tables.wrongly_announced(user) for service in services] == [[], []]
    assert events_of_user(concurrent.world.aws, user) == events_of_user(in_order.world.aws, user)
    assert concurrent.world.outbox() == []


def _record(user: str, event_type: str, item: str, second: int, name: str) -> Record:
    body = native(
        id=f"{name}-{user}",
        eventType=event_type,
        userId=user,
        itemId=f"{item}-{user}",
        occurredAt=f"2026-11-23T12:00:0{second}Z",
        eventData={"date": "2027-01-01T08:00:00Z", "message": f"{event_type} {second} {name}"},
    )
    return raw(body, message_id=f"{event_type}-{item}-{second}-{name}")
