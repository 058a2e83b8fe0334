"""§10 at every request: a rejected record is a dead letter at least once, or comes back; its neighbours are done."""

import json
import uuid
from collections import Counter
from collections.abc import Iterator
from typing import get_args

import pytest

from local.stack import Stack, create_database
from tests.faults.lane import Lane
from tests.support.aws import function_environment, make_aws
from tests.support.dead_letters import Letters, make_letters
from tests.support.messages import CREATED, REMINDER, Record, native, raw
from tests.support.proxies.backends import proxied_backends
from tests.support.proxies.script import Fault, Mode
from tests.support.sampling import FULL
from tests.support.worker import Limits
from tests.support.world import World

MODES: tuple[Mode, ...] = get_args(Mode)
_DELIVERIES = 5
# Two requests for what cannot be parsed, one for the conflict, and those of the other steps.
_POSITIONS = 8


@pytest.fixture(scope="module")
def letters(stack: Stack) -> Letters:
    return make_letters(stack)


@pytest.fixture(scope="module")
def lane(stack: Stack, migrated_template: str, letters: Letters) -> Iterator[Lane]:
    database_url = create_database(stack, f"handover-{uuid.uuid4().hex[:8]}", migrated_template)
    aws = make_aws(stack)
    with proxied_backends(stack.endpoint_url, database_url) as proxies:
        environment = function_environment(stack, aws, proxies.database_url)
        environment |= {"AWS_ENDPOINT_URL": proxies.endpoint_url, "REJECTED_TOPIC_ARN": letters.topic_arn}
        made = Lane(World(aws, database_url), proxies, environment, Limits(request_seconds=0.5))
        yield made
        made.stop()


def batch() -> tuple[list[Record], list[Record], list[Record]]:
    """The records to store first, those to be rejected, and those to be processed."""
    stored = raw(native(id="stored", itemId="stored"), CREATED)
    malformed = [raw("{", REMINDER | {"n": str(n)}) for n in range(12)]
    conflict = raw(native(id="stored", itemId="stored", userEmail="other@example.com"), CREATED)
    good = [raw(native(id=f"good-{n}", itemId=f"good-{n}"), CREATED) for n in range(3)]
    return [stored], [*malformed, conflict], good


def dead_letters(letters: Letters) -> Counter[str]:
    """How often each record is in the dead-letter queue; it is emptied."""
    found: Counter[str] = Counter()
    while messages := letters.received():
        for message in messages:
            found[json.loads(message["MessageAttributes"]["rejection"]["StringValue"])["messageId"]] += 1
            letters.sqs.delete_message(QueueUrl=letters.queue_url, ReceiptHandle=message["ReceiptHandle"])
    return found


def deliver(lane: Lane, letters: Letters, fault: Fault | None) -> tuple[Counter[str], set[str], int]:
    """Deliver the batch, the first time with a fault, until all of it is acknowledged.

    Returns:
        How often each record was a dead letter, the ids of those that had to be, and the number of deliveries.

    """
    before, rejected, good = batch()
    lane.world.reset()
    dead_letters(letters)
    lane.deliver(before)
    waiting, deliveries = [*rejected, *good], 0
    while waiting and deliveries < _DELIVERIES:
        answer = lane.deliver(waiting, fault if deliveries == 0 else None)
        if answer is not None:
            waiting = [record for record in waiting if record["messageId"] in answer.failed]
        deliveries += 1
    assert not waiting
    state = lane.state()
    assert {event["id"] for event in state.events.values()} == {"stored", "good-0", "good-1", "good-2"}
    assert len(state.rows) == 4
    assert state.outbox == []
    return dead_letters(letters), {record["messageId"] for record in rejected}, deliveries


def test_an_undisturbed_batch_hands_every_rejected_record_over_once(lane: Lane, letters: Letters) -> None:
    """Ten to a request, in one delivery."""
    found, rejected, deliveries = deliver(lane, letters, None)
    assert found == Counter(rejected)
    assert deliveries == 1


@pytest.mark.parametrize("onward", [False, True])
@pytest.mark.parametrize("mode", MODES)
def test_no_fault_loses_a_rejected_record(lane: Lane, letters: Letters, mode: Mode, *, onward: bool) -> None:
    """At worst it is a dead letter again for each answer that did not arrive."""
    if onward and mode.startswith("kill"):
        pytest.skip("a process dies once")
    offset = MODES.index(mode) + onward
    for at in range(1, _POSITIONS + 1) if FULL else (offset % 3 + 1, offset % 5 + 4):
        found, rejected, deliveries = deliver(lane, letters, Fault(mode, at, onward))
        assert set(found) == rejected, f"{mode} at request {at}"
        if mode in ("refuse", "throttle") and not onward:
            assert found == Counter(rejected), f"{mode} at request {at}"
        if mode.startswith("kill"):
            assert max(found.values()) <= deliveries, f"{mode} at request {at}"
