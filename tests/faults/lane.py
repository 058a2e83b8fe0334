"""A lane: a worker with its own proxies and backends, in which deliveries are disturbed one after another."""

import contextlib
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from event_service.adapters.event_items import to_item
from event_service.domain.event import EventKey
from event_service.merging import merge_requests
from event_service.steps.parse import parse
from local.stack import Stack, create_database
from tests.faults.scenarios import REFUSED_ITEM
from tests.support.aws import function_environment, make_aws
from tests.support.event_items import Item, is_fact
from tests.support.messages import Record
from tests.support.proxies.backends import BackendProxies, proxied_backends
from tests.support.proxies.script import Fault, Request, Script
from tests.support.worker import Answer, Delivery, Limits, Worker, start_worker
from tests.support.world import World

_SECONDS_LEFT = 6.0
_SECONDS_LEFT_TO_WAIT = 4.5
_SECONDS_LEFT_IN_AN_OUTAGE = 2.5  # all of it is spent on attempts
_AGE_MINUTES = 16


@dataclass(frozen=True)
class State:
    """Everything that a delivery can change. Facts are by the id of their cause; `published` counts them by fact id."""

    events: dict[tuple[str, str], Item]
    facts: dict[str, Item]
    rows: dict[tuple[str, str], Item]
    view: list[Item]
    outbox: list[Item]
    published: Counter[str]

    @property
    def fact_ids(self) -> set[str]:
        """The ids of the facts stored."""
        return {fact["id"] for fact in self.facts.values()}

    @property
    def repeats(self) -> int:
        """How many publications were not needed."""
        return self.published.total() - len(self.published)


@dataclass
class Lane:
    """The resources of one thread."""

    world: World
    proxies: BackendProxies
    environment: dict[str, str]
    limits: Limits
    worker: Worker | None = None

    def deliver(self, records: Sequence[Record], fault: Fault | None = None, *, cold: bool = False) -> Answer | None:
        """Deliver a batch once, with a fault, and wait for all its effects; None if the worker was killed."""
        self.worker = self.worker or start_worker(self.environment, self.limits)
        self.proxies.script = Script(fault, self.worker.kill)
        seconds = _SECONDS_LEFT
        if fault and fault.mode == "delay":
            seconds = _SECONDS_LEFT_TO_WAIT
        elif fault and fault.onward:
            seconds = _SECONDS_LEFT_IN_AN_OUTAGE
        answer = self.worker.handle(Delivery(records, seconds, cold))
        if answer is None:
            self.worker = None
        self.proxies.script.wait_until_quiet()
        return answer

    def merge(self, records: Sequence[Record]) -> None:
        """Store and apply events as a batch that died and then a rebuild do."""
        items = [to_item(event, event.occurred_at) for record in records if (event := parse(record).event)]
        for item in items:
            self.world.aws.dynamodb.put_item(TableName=self.world.aws.table, Item=item)
        for requests in merge_requests(items, frozenset(), _refuse):
            self.world.tables.merge(f"[{','.join(requests)}]")

    def requests(self) -> list[Request]:
        """The requests of the latest delivery."""
        return self.proxies.script.requests

    def applied(self) -> set[str]:
        """The ids of the events whose change is committed, as far as they have one."""
        return self.world.tables.waiting_causes() | {item["causationId"] for item in self.world.facts_stored().values()}

    def age_outbox(self) -> None:
        """Pretend that what is in the outbox was committed 16 minutes earlier."""
        self.world.tables.age_outbox(_AGE_MINUTES)

    def state(self) -> State:
        """The present state."""
        items = self.world.items()
        plain = {key: {k: v for k, v in item.items() if k != "recordedAt"} for key, item in items.items()}
        facts = [item for item in plain.values() if is_fact(item)]
        self.world.published()
        state = State(
            events={key: item for key, item in plain.items() if not is_fact(item)},
            facts={item["causationId"]: item for item in facts},
            rows=self.world.rows(),
            view=self.world.tables.view(),
            outbox=self.world.outbox(),
            published=Counter(message.body["id"] for message in self.world.facts_seen),
        )
        assert len(state.facts) == len(facts), "an event has two facts"
        return state

    def stop(self) -> None:
        """Stop the worker and the observer."""
        self.world.close()
        if self.worker is not None:
            self.worker.stop()
            self.worker = None


def _refuse(key: EventKey, reason: str) -> None:
    raise AssertionError(f"{key}: {reason}")


@contextlib.contextmanager
def open_lane(stack: Stack, template: str, limits: Limits) -> Iterator[Lane]:
    """Make a lane with fresh backends, in which PostgreSQL refuses the rows of `REFUSED_ITEM`."""
    database_url = create_database(stack, f"faults-{uuid.uuid4().hex[:8]}", template)
    aws = make_aws(stack)
    with proxied_backends(stack.endpoint_url, database_url) as proxies:
        environment = function_environment(stack, aws, proxies.database_url)
        environment["AWS_ENDPOINT_URL"] = proxies.endpoint_url
        lane = Lane(World(aws, database_url), proxies, environment, limits)
        lane.world.tables.refuse_rows_of(REFUSED_ITEM)
        try:
            yield lane
        finally:
            lane.stop()
