"""Records that kill the function do not stop other records for long, on a quiet queue and in simulated time."""

import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from event_service import pipeline
from tests.support.messages import Record, native, raw
from tests.support.sampling import FULL
from tests.support.tables import Tables
from tests.support.worker import Delivery, Worker, start_worker
from tests.support.world import World

GOOD, SECONDS_BETWEEN = 100, 6.0  # 10 events a minute
KILLERS = ("exit", "time", "apply", "memory", "exit") if FULL else ("exit", "time", "apply")
VISIBILITY_SECONDS = 60.0
BATCH_WINDOW_SECONDS = 1.0
BATCH_SIZE = 100
THROUGH_WITHIN_SECONDS = 300.0
INVOCATION_SECONDS = 10.0


def arm() -> None:
    """In a worker: make records with a deadly item end the process as such records do."""
    parse, apply = pipeline.parse, pipeline.apply  # type: ignore[attr-defined]

    def deadly_parse(record: Mapping[str, Any]) -> Any:
        body = str(record["body"])
        if '"itemId":"exit' in body:
            os._exit(1)
        if '"itemId":"memory' in body:
            os.kill(os.getpid(), signal.SIGKILL)  # as the kernel does
        if '"itemId":"time' in body:
            time.sleep(0.3)
            os.kill(os.getpid(), signal.SIGKILL)  # as Lambda does at the end of the function's timeout
        return parse(record)

    def deadly_apply(events: Mapping[Any, Any], *others: Any) -> Any:
        if any(pk.startswith("reminder#apply") for pk, _ in events):
            os._exit(1)
        return apply(events, *others)

    pipeline.parse, pipeline.apply = deadly_parse, deadly_apply  # type: ignore[assignment, attr-defined]


@dataclass
class Message:
    """A message in the queue; times are simulated seconds."""

    record: Record
    visible_at: float
    deliveries: int = 0

    def receive(self) -> Record:
        """Return its record as the next delivery has it."""
        self.deliveries += 1
        count = {"ApproximateReceiveCount": str(self.deliveries)}
        return self.record | {"attributes": self.record["attributes"] | count}


@dataclass
class Simulation:
    """A queue with its event source mapping, a real worker process, and when each item was done."""

    environment: Mapping[str, str]
    tables: Tables
    queue: list[Message]
    done: dict[str, float] = field(default_factory=dict)
    deaths: int = 0
    workers: list[Worker] = field(default_factory=list)

    def run(self, until: float) -> None:
        """Deliver what is visible, batch by batch, until only killers are left."""
        good = sum(message.record["messageId"].startswith("good") for message in self.queue)
        while len(self.done) < good and (now := min(message.visible_at for message in self.queue)) <= until:
            window = now + BATCH_WINDOW_SECONDS
            batch = sorted(
                (message for message in self.queue if message.visible_at <= window), key=lambda each: each.visible_at
            )[:BATCH_SIZE]
            self._deliver(batch, window)
            self._note(window)

    def _deliver(self, batch: Sequence[Message], now: float) -> None:
        records = [message.receive() for message in batch]
        while len(self.workers) < 2:  # a spare one starts in the meantime
            self.workers.append(start_worker(self.environment, prepare=arm))
        answer = self.workers[0].handle(Delivery(records, INVOCATION_SECONDS))
        if answer is None:
            self.deaths += 1
            self.workers.pop(0)
        for message in batch:
            if answer is None or message.record["messageId"] in answer.failed:
                message.visible_at = now + VISIBILITY_SECONDS
            else:
                self.queue.remove(message)

    def _note(self, now: float) -> None:
        """Note the items that have their row, and whose fact is out."""
        waiting = {row["event_pk"] for row in self.tables.outbox()}
        for _, item in self.tables.rows():
            if f"reminder#{item}" not in waiting:
                self.done.setdefault(item, now)


def message(item: str, at: float) -> Message:
    """A reminder that is sent at a moment."""
    return Message(raw(native(id=item, itemId=item), message_id=item), at)


@pytest.fixture
def simulation(world: World, service_environment: dict[str, str]) -> Iterator[Simulation]:
    """An empty queue."""
    simulation = Simulation(service_environment, world.tables, [])
    yield simulation
    for worker in simulation.workers:
        worker.stop()


def test_among_100_records_those_that_kill_hold_up_no_other_for_5_minutes(simulation: Simulation) -> None:
    """Each killer arrives together with a good record and comes back every minute, at the moment of another."""
    sent = {f"good-{n}": n * SECONDS_BETWEEN for n in range(GOOD)}
    killers = [message(f"{kind}-{n}", n * 11 * SECONDS_BETWEEN) for n, kind in enumerate(KILLERS)]
    simulation.queue = [*(message(item, at) for item, at in sent.items()), *killers]
    simulation.run(until=GOOD * SECONDS_BETWEEN + THROUGH_WITHIN_SECONDS)
    assert simulation.deaths > 5 * len(KILLERS)
    assert [item for item in sent if item not in simulation.done] == []
    slowest = max(simulation.done[item] - at for item, at in sent.items())
    assert slowest <= THROUGH_WITHIN_SECONDS
    assert {message.record["messageId"] for message in simulation.queue} >= {
        killer.record["messageId"] for killer in killers
    }


@pytest.mark.parametrize("kind", ["exit", "memory", "apply"])
def test_a_batch_with_a_killer_in_it_is_through_after_5_deliveries(simulation: Simulation, kind: str) -> None:
    """The killer may be anywhere in the batch."""
    simulation.queue = [*(message(f"good-{n}", 0) for n in range(12)), message(f"{kind}-1", 0)]
    simulation.run(until=4 * (VISIBILITY_SECONDS + BATCH_WINDOW_SECONDS))
    assert len(simulation.done) == 12
    assert simulation.deaths == 5
