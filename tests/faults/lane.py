"""A lane: a worker, its proxies and backends of its own, in which deliveries are disturbed one after the other."""

import contextlib
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import set_json_loads

from event_service.adapters.event_items import to_item
from event_service.merging import fold
from event_service.pipeline import parse
from local.stack import Stack, create_database
from tests.conftest import Aws
from tests.contract.leftovers import age_outbox
from tests.contract.oracle import exact_json
from tests.contract.records import Record
from tests.contract.world import AS_OBSERVER, World, is_fact

from .proxy import Proxy, running_proxy
from .scenarios import REFUSED_ITEM
from .script import Fault, Request, Script
from .worker import Answer, Delivery, Worker, start_worker

_SECONDS_LEFT = 6.0
_SECONDS_LEFT_TO_WAIT = 4.5
_KEYS_PER_REQUEST = 25
Item = dict[str, Any]


@dataclass(frozen=True)
class State:
    """All that a delivery can change; facts by the id of the causing event, `published` counts them by their own."""

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
        """How many facts were published once more than needed."""
        return self.published.total() - len(self.published)


@dataclass
class Observer(World):
    """A world looked at through one connection, which is much faster."""

    connection: psycopg.Connection[Item] | None = None

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[Item]:
        """Run one statement in UTC; JSON is read with no digit lost."""
        if self.connection is None:
            self.connection = psycopg.connect(
                self.database_url, autocommit=True, options=AS_OBSERVER, row_factory=dict_row
            )
            set_json_loads(exact_json, self.connection)
        cursor = self.connection.execute(sql.encode(), parameters or None)
        return cursor.fetchall() if cursor.description else []

    def close(self) -> None:
        """Close the connection."""
        if self.connection is not None:
            self.connection.close()


@dataclass
class Lane:
    """What one thread works with; `limit_seconds` shortens the time limits of the function's requests."""

    world: Observer
    proxy: Proxy
    environment: dict[str, str]
    limit_seconds: float | None = None
    worker: Worker | None = None

    def reset(self) -> None:
        """Empty the backends."""
        self.world.query("TRUNCATE notifications, outbox, merges")
        keys = [{"pk": {"S": pk}, "sk": {"S": sk}} for pk, sk in self.world.items()]
        for start in range(0, len(keys), _KEYS_PER_REQUEST):
            deletions: Any = [{"DeleteRequest": {"Key": key}} for key in keys[start : start + _KEYS_PER_REQUEST]]
            self.world.aws.dynamodb.batch_write_item(RequestItems={self.world.aws.table: deletions})
        self.world.published()
        self.world.facts_seen.clear()

    def deliver(self, records: Sequence[Record], fault: Fault | None = None, *, cold: bool = False) -> Answer | None:
        """Deliver a batch once, with a fault, and wait until all it caused is over; None if the worker was killed."""
        self.worker = self.worker or start_worker(self.environment, self.limit_seconds)
        self.proxy.script = Script(fault, self.worker.kill)
        seconds = _SECONDS_LEFT_TO_WAIT if fault and fault.mode == "delay" else _SECONDS_LEFT
        answer = self.worker.handle(Delivery(records, seconds, cold))
        if answer is None:
            self.worker = None
        self.proxy.script.wait_until_quiet()
        return answer

    def merge(self, records: Sequence[Record]) -> None:
        """Store and apply events as a batch that died and then a rebuild do."""
        items = [to_item(event, event.occurred_at) for record in records if (event := parse(record).event)]
        for item in items:
            self.world.aws.dynamodb.put_item(TableName=self.world.aws.table, Item=item)
        self.world.query("INSERT INTO merges DEFAULT VALUES")
        for requests in fold(items, _refuse):
            events = f"[{','.join(requests)}]"
            self.world.query("SELECT merge_notifications('notifications', %s::json)::text", (events,))

    def requests(self) -> list[Request]:
        """The requests of the last delivery."""
        return self.proxy.script.requests

    def applied(self) -> set[str]:
        """The ids of the events whose change is committed, as far as they have one."""
        waiting = {row["event_sk"].partition("#")[2] for row in self.world.outbox()}
        return waiting | {item["causationId"] for item in self.world.facts_stored().values()}

    def age_outbox(self) -> None:
        """Pretend that what is in the outbox was committed 16 minutes earlier."""
        age_outbox(self.world, 16)

    def state(self) -> State:
        """Look at all there is."""
        items = self.world.items()
        plain = {key: {k: v for k, v in item.items() if k != "recordedAt"} for key, item in items.items()}
        facts = [item for item in plain.values() if is_fact(item)]
        self.world.published()
        state = State(
            events={key: item for key, item in plain.items() if not is_fact(item)},
            facts={item["causationId"]: item for item in facts},
            rows=self.world.rows(),
            view=self.world.query('SELECT * FROM "notification" ORDER BY "userId", "itemId"'),
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


def _refuse(item: Mapping[str, Any], reason: Exception) -> None:
    raise AssertionError(f"{item}: {reason}")


@contextlib.contextmanager
def open_lane(stack: Stack, template: str, limit_seconds: float | None) -> Iterator[Lane]:
    """Make a lane with fresh backends."""
    name = f"faults-{uuid.uuid4().hex[:8]}"
    database_url = create_database(stack, name, template)
    aws = _make_aws(stack, name)
    with running_proxy(stack.endpoint_url, database_url) as proxy:
        environment = stack.environment() | {
            "AWS_ENDPOINT_URL": proxy.endpoint_url,
            "DATABASE_URL": proxy.database_url,
            "EVENT_STORE_TABLE": aws.table,
            "NOTIFICATION_TOPIC_ARN": aws.topic_arn,
        }
        lane = Lane(Observer(aws, database_url), proxy, environment, limit_seconds)
        lane.world.query(f"ALTER TABLE notifications ADD CONSTRAINT refused CHECK (item_id <> '{REFUSED_ITEM}')")
        try:
            yield lane
        finally:
            lane.stop()


def _make_aws(stack: Stack, name: str) -> Aws:
    dynamodb, sns, sqs = (stack.client(service) for service in ("dynamodb", "sns", "sqs"))
    dynamodb.create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"} for key in ("pk", "sk")],
    )
    topic_arn = sns.create_topic(Name=name)["TopicArn"]
    queue_url = sqs.create_queue(QueueName=name)["QueueUrl"]
    queue_arn = sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    sns.subscribe(TopicArn=topic_arn, Protocol="sqs", Endpoint=queue_arn, Attributes={"RawMessageDelivery": "true"})
    return Aws(name, topic_arn, queue_url, dynamodb, sns, sqs)
