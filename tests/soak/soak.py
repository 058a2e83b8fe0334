"""Sends the stream through workers that are killed and connections that break, as SQS would, and audits the result."""

import json
import random
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from local.stack import Stack
from tests.conftest import Aws, make_aws
from tests.soak.proxy import Proxy, running_proxy
from tests.soak.stream import REFUSED_ITEM, Stream
from tests.soak.worker import start_worker

_WORKERS = 2
_LARGEST_BATCH = 60
_KILLED_SHARE = 0.45
_KILL_WITHIN_SECONDS = 0.25
_BROKEN_SHARE = 0.005
_MAX_RECEIVE_COUNT = 5  # of a bad record; good ones come back until they are through, so that all can be accounted for
_REPORT_SECONDS = 15


@dataclass
class Soak:
    """A soak while it runs and its account afterwards."""

    stream: Stream
    aws: Aws
    database_url: str
    queue: deque[dict[str, Any]] = field(default_factory=deque)
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
            ("lost", self.lost),
            ("differences in all", len(self.problems)),
        ]

    def stop_sending(self) -> None:
        self.sending = False

    def take(self, rng: random.Random) -> list[dict[str, Any]]:
        """Return the next batch: what came back, and as long as events are sent, new ones."""
        with self.lock:
            size = rng.randint(1, _LARGEST_BATCH)
            batch = [self.queue.popleft() for _ in range(min(size // 2 if self.sending else size, len(self.queue)))]
            if self.sending:
                batch += [self.stream.next_record() for _ in range(size - len(batch))]
            return batch

    def give_back(self, records: list[dict[str, Any]], *, answered: bool) -> None:
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
    """Send events for so many seconds, then let all of them get through, then account for each."""
    state = Soak(Stream(random.Random(seed)), make_aws(stack), database_url)
    with psycopg.connect(database_url) as connection:
        connection.execute(f"ALTER TABLE notifications ADD CHECK (item_id <> '{REFUSED_ITEM}')".encode())
    with ExitStack() as stop:
        proxies = [stop.enter_context(running_proxy(*address)) for address in _addresses(stack, database_url)]
        environment = _environment(stack, state, *proxies)
        for proxy in proxies:
            proxy.share = _BROKEN_SHARE
        threads = [
            threading.Thread(target=_deliver, args=(state, environment, random.Random(f"{seed}-{number}")))
            for number in range(_WORKERS)
        ]
        collector = threading.Thread(target=_collect_facts, args=(state, threads))
        progress("sending events, killing processes and breaking connections")
        for thread in (*threads, collector):
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
        state.broken = sum(proxy.broken for proxy in proxies)
    progress("accounting for every event")
    audit(state)
    return state


def _addresses(stack: Stack, database_url: str) -> list[tuple[str, int]]:
    database = conninfo_to_dict(database_url)
    host, _, port = stack.endpoint_url.removeprefix("http://").partition(":")
    return [(host, int(port)), (str(database["host"]), int(str(database["port"])))]


def _environment(stack: Stack, state: Soak, aws: Proxy, database: Proxy) -> dict[str, str]:
    return stack.environment() | {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{aws.port}",
        "DATABASE_URL": make_conninfo(state.database_url, port=database.port),
        "EVENT_STORE_TABLE": state.aws.table,
        "NOTIFICATION_TOPIC_ARN": state.aws.topic_arn,
    }


def _deliver(state: Soak, environment: dict[str, str], rng: random.Random) -> None:
    """Do what an event source mapping does, until nothing is left; every now and then kill the process."""
    worker, spare = start_worker(environment), start_worker(environment)
    while state.sending or state.queue:
        records = state.take(rng)
        if not records:
            continue
        kill_after = rng.uniform(0, _KILL_WITHIN_SECONDS) if state.sending and rng.random() < _KILLED_SHARE else None
        failed = worker.handle(records, kill_after)
        if failed is None:
            state.kills += 1
            state.give_back(records, answered=False)
        else:
            state.give_back([record for record in records if record["messageId"] in failed], answered=True)
        if not worker.is_alive():
            worker.end()
            worker, spare = spare, start_worker(environment)
    worker.end()
    spare.end()


def _collect_facts(state: Soak, workers: list[threading.Thread]) -> None:
    """Receive what is published, until nobody publishes and nothing is left."""
    while True:
        at_work = any(worker.is_alive() for worker in workers)
        answer = state.aws.sqs.receive_message(QueueUrl=state.aws.facts_queue_url, MaxNumberOfMessages=10)
        messages = answer.get("Messages", [])
        state.facts_published.update(json.loads(message["Body"])["id"] for message in messages)
        if messages:
            entries = [{"Id": str(index), "ReceiptHandle": m["ReceiptHandle"]} for index, m in enumerate(messages)]
            state.aws.sqs.delete_message_batch(QueueUrl=state.aws.facts_queue_url, Entries=entries)  # type: ignore[arg-type]
        elif not at_work:
            return
        else:
            time.sleep(0.2)


def audit(state: Soak) -> None:
    """Compare what is there with what was sent, and note every difference."""
    items = [
        item
        for page in state.aws.dynamodb.get_paginator("scan").paginate(TableName=state.aws.table, ConsistentRead=True)
        for item in page["Items"]
    ]
    facts = {str(item["id"]["S"]) for item in items if "userId" not in item}
    stored = Counter(str(item["id"]["S"]) for item in items if "userId" in item)
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
    with psycopg.connect(state.database_url) as connection:
        rows = connection.execute(
            "SELECT user_id, item_id, event_id, deleted_at, created_at FROM notifications"
        ).fetchall()
        pending = connection.execute("SELECT event_pk, event_sk FROM outbox").fetchall()
    actual = {
        (user, item): (event_id, deleted_at is not None, created_at.strftime("%Y-%m-%dT%H:%M:%SZ"))
        for user, item, event_id, deleted_at, created_at in rows
    }
    expected = state.stream.deciding()
    different = [key for key in expected.keys() | actual.keys() if expected.get(key) != actual.get(key)]
    state.problems += [f"row {key}: expected {expected.get(key)}, found {actual.get(key)}" for key in different]
    state.problems += [f"the fact of {key} is still in the outbox" for key in pending]
