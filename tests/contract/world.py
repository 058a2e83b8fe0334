"""The function and everything around it that a test can see: what it answers, logs, stores and publishes."""

import contextlib
import gzip
import io
import json
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import psycopg
from boto3.dynamodb.types import TypeDeserializer
from psycopg.rows import dict_row
from psycopg.types.json import set_json_loads

from .oracle import Event, Key, Model, exact_json
from .records import Record

Item = dict[str, Any]
UUID_OF_NAME = 5
AS_OBSERVER = "-c TimeZone=UTC -c DateStyle=ISO"


@dataclass
class Answer:
    """One invocation: the records answered as failed, and the lines written to the log."""

    failed: set[str]
    lines: list[str]

    def entries(self, record: Record) -> list[dict[str, Any]]:
        """The log entries about a record, by its message id."""
        return [json.loads(line) for line in self.lines if record["messageId"] in line]


@dataclass
class Message:
    """A fact as a subscriber receives it, with its size in bytes."""

    body: dict[str, Any]
    attributes: dict[str, str]
    text: str


@dataclass
class World:
    aws: Any
    database_url: str
    facts_seen: list[Message] = field(default_factory=list)

    def invoke(self, records: Sequence[Record], milliseconds_left: int = 60_000) -> Answer:
        """Call the function as Lambda does and capture what it logs."""
        from event_service.handler import lambda_handler

        context = SimpleNamespace(get_remaining_time_in_millis=lambda: milliseconds_left)
        with captured_logs() as log:
            answer = lambda_handler({"Records": list(records)}, context)
        failures = [failure["itemIdentifier"] for failure in answer["batchItemFailures"]]
        assert len(failures) == len(set(failures))
        return Answer(set(failures), log.getvalue().splitlines())

    def accept(self, *records: Record) -> None:
        """Deliver one batch, all of which must be acknowledged."""
        answer = self.invoke(records)
        assert answer.failed == set(), answer.lines

    def items(self) -> dict[Key, Item]:
        """The whole event store by key, `eventData` as the text it was."""
        deserialize = TypeDeserializer().deserialize
        pages = self.aws.dynamodb.get_paginator("scan").paginate(TableName=self.aws.table, ConsistentRead=True)
        plain = [{name: deserialize(value) for name, value in item.items()} for page in pages for item in page["Items"]]
        return {(item["pk"], item["sk"]): item | {"eventData": event_text(item)} for item in plain}

    def events(self) -> dict[Key, Item]:
        """The items of events, without those of facts."""
        return {key: item for key, item in self.items().items() if not is_fact(item)}

    def facts_stored(self) -> dict[str, Item]:
        """The items of facts, by the fact's id."""
        return {item["id"]: item for item in self.items().values() if is_fact(item)}

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """Run one statement as an observer, in UTC; JSON is read with no digit lost."""
        with psycopg.connect(self.database_url, autocommit=True, options=AS_OBSERVER) as connection:
            set_json_loads(exact_json, connection)
            cursor = connection.cursor(row_factory=dict_row)
            cursor.execute(sql.encode(), parameters or None)
            return cursor.fetchall() if cursor.description else []

    def rows(self) -> dict[Key, dict[str, Any]]:
        """The notifications by (user, item)."""
        return {(row["user_id"], row["item_id"]): row for row in self.query("SELECT * FROM notifications")}

    def row(self) -> dict[str, Any]:
        """The one notification there is."""
        (row,) = self.rows().values()
        return row

    def outbox(self) -> list[dict[str, Any]]:
        return self.query("SELECT * FROM outbox")

    def published(self) -> list[Message]:
        """The facts that arrived at the subscribed queue since the last call; the emulator delivers at once."""
        found: list[Message] = []
        while messages := self._receive():
            found += [
                Message(
                    exact_json(message["Body"]),
                    {name: value["StringValue"] for name, value in message["MessageAttributes"].items()},
                    message["Body"],
                )
                for message in messages
            ]
        self.facts_seen += found
        return found

    def _receive(self) -> list[dict[str, Any]]:
        sqs, url = self.aws.sqs, self.aws.facts_queue_url
        answer = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, MessageAttributeNames=["All"])
        messages: list[dict[str, Any]] = answer.get("Messages", [])
        if messages:
            handles = [{"Id": str(n), "ReceiptHandle": m["ReceiptHandle"]} for n, m in enumerate(messages)]
            sqs.delete_message_batch(QueueUrl=url, Entries=handles)
        return messages

    def learn(self, events: Iterable[Event]) -> list[Event]:
        """The events, those without an id with the one the service computed (§2: a raw event that has none)."""
        ids = {(item["pk"], item["occurredAt"]): item["id"] for item in self.items().values()}
        return [each if each.id else learned(each, ids[each.pk, each.occurred_at]) for each in events]

    @contextlib.contextmanager
    def without_topic(self) -> Iterator[None]:
        """The notification topic does not exist meanwhile, so that nothing can be published."""
        arn, queue = self.aws.topic_arn, self.aws.facts_queue_url
        attributes = self.aws.sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])
        self.aws.sns.delete_topic(TopicArn=arn)
        try:
            yield
        finally:
            self.aws.sns.create_topic(Name=arn.rpartition(":")[2])
            self.aws.sns.subscribe(
                TopicArn=arn,
                Protocol="sqs",
                Endpoint=attributes["Attributes"]["QueueArn"],
                Attributes={"RawMessageDelivery": "true"},
            )

    @contextlib.contextmanager
    def without_notifications(self) -> Iterator[None]:
        """The table of notifications is not there meanwhile, so that nothing can be applied."""
        self.query("ALTER TABLE notifications RENAME TO notifications_away")
        try:
            yield
        finally:
            self.query("ALTER TABLE notifications_away RENAME TO notifications")

    def check(self, model: Model) -> None:
        """Everything stored and published equals the model."""
        assert_items(self.events(), model)
        rows = self.rows()
        assert {key: comparable(row) for key, row in rows.items()} == {
            key: comparable(row.expected()) for key, row in model.rows.items()
        }
        assert self.outbox() == []
        self.published()
        assert_facts(self, rows, model)


def learned(event: Event, computed: str) -> Event:
    assert uuid.UUID(computed).version == UUID_OF_NAME
    return replace(event, id=computed)


def is_fact(item: Item) -> bool:
    return item["eventType"] in {"notification:created", "notification:updated", "notification:deleted"}


def event_text(item: Item) -> str:
    """The text of an item's `eventData`, decompressed where it says so."""
    data = item["eventData"]
    if "eventDataEncoding" not in item:
        assert isinstance(data, str)
        return data
    assert item["eventDataEncoding"] == "gzip"
    return gzip.decompress(data.value).decode()


def comparable(row: dict[str, Any]) -> dict[str, Any]:
    """The columns of §6 that a row's deciding event determines; NULL and '' both mean no e-mail address."""
    names = ("user_id", "item_id", "item_type", "deliver_at", "created_at", "updated_at", "deleted_at")
    data = dict(row["notification_data"])
    if not row["user_email"]:
        data.pop("userEmail", None)
    return {name: row[name] for name in names} | {
        "user_email": row["user_email"] or "",
        "notification_data": data,
    }


def assert_items(items: dict[Key, Item], model: Model) -> None:
    """The event store holds the model's events and nothing else (§3)."""
    assert set(items) == set(model.items)
    for key, event in model.items.items():
        expected = {
            "pk": event.pk,
            "sk": event.sk,
            "id": event.id,
            "eventType": event.event_type,
            "userId": event.user_id,
            "userEmail": event.user_email,
            "occurredAt": event.occurred_at,
            "causationId": event.causation_id,
            "eventData": event.data_text,
        }
        item = {n: v for n, v in items[key].items() if n not in {"recordedAt", "eventDataEncoding"}}
        assert item == {name: value for name, value in expected.items() if value is not None}


def assert_facts(world: World, rows: dict[Key, dict[str, Any]], model: Model) -> None:
    """Every fact of the model was published once, is stored whole, and no other was (§4)."""
    bodies = [message.body for message in world.facts_seen]
    assert len({body["id"] for body in bodies}) == len(bodies) == len(model.facts)
    assert {body["id"] for body in bodies} == set(world.facts_stored())
    found = {(body["causationId"], body["eventType"], body["userId"], body["itemId"]): body for body in bodies}
    for fact in model.facts:
        identity = str(rows[fact.cause.user_id, fact.cause.item_id]["id"])
        body = found[fact.cause.id, fact.kind, fact.cause.user_id, identity]
        assert without_ids(body, identity) == fact.expected()


def without_ids(body: dict[str, Any], notification_id: str) -> dict[str, Any]:
    """A fact's body as the model predicts it, its ids checked and taken out."""
    data = dict(body["eventData"])
    assert (body["itemId"], data.pop("id")) == (notification_id, notification_id)
    assert uuid.UUID(body["id"]).version == 5
    email = body.get("userEmail") or None
    data["userEmail"] = data.get("userEmail") or None
    if email is None and data["notificationData"]:
        data["notificationData"] = {k: v for k, v in data["notificationData"].items() if k != "userEmail"}
    rest = {name: value for name, value in body.items() if name not in {"id", "itemId", "eventData"}}
    return rest | {"userEmail": email, "eventData": data}


@contextlib.contextmanager
def captured_logs() -> Iterator[io.StringIO]:
    """Everything written to standard output and error meanwhile."""
    log = io.StringIO()
    with contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
        yield log
