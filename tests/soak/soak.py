"""Sends the stream through workers that are killed and connections that break, as SQS would, and audits the result."""

import random
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime

from local.stack import Stack
from tests.soak.stream import REFUSED_ITEM, Stream
from tests.support.aws import function_environment, make_aws, published
from tests.support.messages import Record
from tests.support.proxies.stream import Breaks, breaking_proxy
from tests.support.tables import comparable
from tests.support.worker import Delivery, start_worker
from tests.support.world import World

_WORKERS = 2
_LARGEST_BATCH = 60
_KILLED_SHARE = 0.45
_KILL_WITHIN_SECONDS = 0.25
_BROKEN_SHARE = 0.005
_MAX_RECEIVE_COUNT = 5  # of a bad record; good ones come back until they are through, and all can be accounted for
_REPORT_SECONDS = 15
_INVOCATION_SECONDS = 20


@dataclass
class Soak:
    """A soak while it runs and its account afterwards."""

    stream: Stream
    world: World
    queue: deque[Record] = field(default_factory=deque)
    tries: Counter[str] = field(default_factory=Counter)
    dead: set[str] = field(default_factory=set)
    kills: int = 0
    broken: int = 0
    redelivered: int = 0
    sending: bool = True
    lock: threading.Lock = field(default_factory=threading.Lock)
    stored: int = 0
    facts_stored: int = 0
    facts_published: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    problems: list[str] = field(default_factory=list)

    def is_clean(self) -> bool:
        return not self.problems

    def summary(self) -> list[tuple[str, int]]:
        return [
            ("events sent", len(self.stream.events)),
            ("events stored", self.stored),
            ("deliveries of an event sent before, absorbed", self.stream.repeated),
            ("records redelivered", self.redelivered),
            ("processes killed", self.kills),
            ("connections broken", self.broken),
            ("bad records in the dead-letter queue", len(self.dead & self.stream.bad)),
            ("events with a refused row there", len(self.dead & self.stream.refused)),
            ("facts stored", self.facts_stored),
            ("facts published", len(self.facts_published)),
            ("facts published more than once", sum(count > 1 for count in self.facts_published.values())),
            *self.stream.timeliness.summary(),
            ("lost", self.lost),
            ("differences in all", len(self.problems)),
        ]

    def stop_sending(self) -> None:
        if self.sending:
            self.stream.timeliness.run_until = datetime.now(UTC)
        self.sending = False

    def take(self, rng: random.Random) -> list[Record]:
        """Return the next batch: what came back, and as long as events are sent, new ones."""
        with self.lock:
            size = rng.randint(1, _LARGEST_BATCH)
            batch = [self.queue.popleft() for _ in range(min(size // 2 if self.sending else size, len(self.queue)))]
            if self.sending:
                batch += [self.stream.next_record() for _ in range(size - len(batch))]
            return batch

    def give_back(self, records: list[Record], *, answered: bool) -> None:
        """Put failed records back, as SQS does; a hopeless one that was answered as failed too often is given up."""
        with self.lock:
            hopeless = self.stream.bad | self.stream.refused
            for record in records:
                message_id = record["messageId"]
                self.tries[message_id] += answered
                if message_id in hopeless and self.tries[message_id] >= _MAX_RECEIVE_COUNT:
                    self.dead.add(message_id)
                else:
                    self.redelivered += 1
                    self.queue.append(record)


def soak(
    stack: Stack, database_url: str, *, seconds: float, seed: int, progress: Callable[[str], None] = lambda _: None
) -> Soak:
    """Send events for `seconds`, then let all of them get through, then account for each."""
    state = Soak(Stream(random.Random(seed)), World(make_aws(stack), database_url))
    state.world.tables.refuse_rows_of(REFUSED_ITEM)
    breaks = Breaks(_BROKEN_SHARE)
    with ExitStack() as stop:
        aws, database = (stop.enter_context(breaking_proxy(url, breaks)) for url in (stack.endpoint_url, database_url))
        environment = function_environment(stack, state.world.aws, database.url) | {"AWS_ENDPOINT_URL": aws.url}
        threads = [
            threading.Thread(target=_deliver, args=(state, environment, random.Random(f"{seed}-{number}")))
            for number in range(_WORKERS)
        ]
        collector = threading.Thread(target=_collect_facts, args=(state, threads))
        scheduler = threading.Thread(
            target=state.stream.timeliness.watch,
            args=(database_url, lambda: not any(thread.is_alive() for thread in threads)),
        )
        progress("sending events, killing processes and breaking connections")
        for thread in (*threads, collector, scheduler):
            thread.start()
        stop.callback(state.stop_sending)
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(left, _REPORT_SECONDS))
            progress(f"{len(state.stream.events):,} events sent, {state.kills} processes killed")
        state.stop_sending()
        progress("letting everything get through")
        for thread in (*threads, collector):
            thread.join()
        progress("letting the scheduler query for what is late")
        scheduler.join()
        state.broken = breaks.broken
    progress("accounting for every event")
    audit(state)
    state.world.close()
    return state


def _deliver(state: Soak, environment: dict[str, str], rng: random.Random) -> None:
    """Do what an event source mapping does, until nothing is left; every now and then kill the process."""
    worker, spare = start_worker(environment), start_worker(environment)
    while state.sending or state.queue:
        records = state.take(rng)
        if not records:
            continue
        kill_after = rng.uniform(0, _KILL_WITHIN_SECONDS) if state.sending and rng.random() < _KILLED_SHARE else None
        answer = worker.handle(Delivery(records, _INVOCATION_SECONDS), kill_after)
        if answer is None:
            state.kills += 1
            state.give_back(records, answered=False)
        else:
            state.give_back([record for record in records if record["messageId"] in answer.failed], answered=True)
        if not worker.is_alive():
            worker.stop()
            worker, spare = spare, start_worker(environment)
    worker.stop()
    spare.stop()


def _collect_facts(state: Soak, workers: list[threading.Thread]) -> None:
    """Receive what is published, until no worker publishes and the queue is empty."""
    while True:
        at_work = any(worker.is_alive() for worker in workers)
        facts = published(state.world.aws)
        state.facts_published.update(fact["id"] for fact in facts)
        if facts:
            continue
        if not at_work:
            return
        time.sleep(0.2)


def audit(state: Soak) -> None:
    """Compare what is there with what was sent, and note every difference."""
    facts = set(state.world.facts_stored())
    stored = Counter(str(item["id"]) for item in state.world.events().values())
    state.stored, state.facts_stored = len(stored), len(facts)
    missing = [f"event {event_id} is not stored" for event_id in state.stream.events if event_id not in stored]
    unpublished = [f"fact {fact} is stored and was not published" for fact in facts - state.facts_published.keys()]
    state.lost = len(missing) + len(unpublished)
    state.problems += missing + unpublished
    state.problems += [f"event {event_id} is stored {count} times" for event_id, count in stored.items() if count > 1]
    state.problems += [f"event {event_id} was never sent" for event_id in stored.keys() - state.stream.events.keys()]
    state.problems += [f"fact {fact} was published and is not stored" for fact in state.facts_published.keys() - facts]
    hopeless = state.stream.bad | state.stream.refused
    state.problems += [f"record {record} was acknowledged" for record in hopeless - state.dead]
    actual = {key: comparable(row) for key, row in state.world.rows().items()}
    expected = {key: comparable(row.expected()) for key, row in state.stream.expected_rows().items()}
    different = [key for key in expected.keys() | actual.keys() if expected.get(key) != actual.get(key)]
    state.problems += [f"row {key}: expected {expected.get(key)}, found {actual.get(key)}" for key in different]
    state.problems += state.stream.timeliness.problems()
    waiting = state.world.tables.waiting_causes()
    state.problems += [f"the fact of {event_id} is still in the outbox" for event_id in waiting]
