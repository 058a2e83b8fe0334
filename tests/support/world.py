"""The function and everything around it that a test can see: what it answers, logs, stores and publishes."""

import contextlib
import io
import json
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

from tests.support import event_items
from tests.support.aws import Aws, received, subscribe
from tests.support.event_items import Item, is_fact
from tests.support.messages import Record
from tests.support.oracle import Event, Key, Model, exact_json
from tests.support.tables import Row, Tables, comparable


@dataclass
class Answer:
    """One invocation: the ids of the records reported as failed, and the lines written to the log."""

    failed: set[str]
    lines: list[str]

    def entries(self, record: Record) -> list[dict[str, Any]]:
        """The log entries about a record, by its message id."""
        return [json.loads(line) for line in self.lines if record["messageId"] in line]


@dataclass
class Message:
    """A fact as a subscriber receives it."""

    body: dict[str, Any]
    attributes: dict[str, str]
    text: str


@dataclass
class World:
    """A service with its own resources and database, in which the handler runs in this process."""

    aws: Aws
    database_url: str
    facts_seen: list[Message] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.tables = Tables(self.database_url)

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
        """The whole event store by key, with `eventData` as the text that was sent."""
        return event_items.items(self.aws)

    def events(self) -> dict[Key, Item]:
        """The items of events, without those of facts."""
        return {key: item for key, item in self.items().items() if not is_fact(item)}

    def facts_stored(self) -> dict[str, Item]:
        """The items of facts, by the fact's id."""
        return {item["id"]: item for item in self.items().values() if is_fact(item)}

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """Run one statement as an observer, in UTC; JSON is read without losing a digit."""
        return self.tables.query(sql, parameters)

    def rows(self) -> dict[Key, Row]:
        """The notifications by (user, item)."""
        return self.tables.rows()

    def row(self) -> Row:
        """The only notification."""
        (row,) = self.rows().values()
        return row

    def outbox(self) -> list[Row]:
        """The facts that are not yet published."""
        return self.tables.outbox()

    def published(self) -> list[Message]:
        """The facts that arrived at the subscribed queue since the last call; the emulator delivers at once."""
        found: list[Message] = []
        while messages := received(self.aws):
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

    def learn(self, events: Iterable[Event]) -> list[Event]:
        """The events, those without an id with the one that the service computed (§2: a raw event without an id)."""
        ids = {(item["pk"], item["occurredAt"]): item["id"] for item in self.items().values()}
        return [each if each.id else _learned(each, ids[each.pk, each.occurred_at]) for each in events]

    @contextlib.contextmanager
    def without_topic(self) -> Iterator[None]:
        """Delete the notification topic in the meantime: nothing can be published."""
        self.aws.sns.delete_topic(TopicArn=self.aws.topic_arn)
        try:
            yield
        finally:
            self.aws.sns.create_topic(Name=self.aws.topic_arn.rpartition(":")[2])
            subscribe(self.aws)

    def reset(self) -> None:
        """Empty the backends."""
        self.tables.empty()
        event_items.delete_all(self.aws)
        self.published()
        self.facts_seen.clear()

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

    def close(self) -> None:
        """Close the connection to the database."""
        self.tables.close()


def _learned(event: Event, computed: str) -> Event:
    assert uuid.UUID(computed).version == 5
    return replace(event, id=computed)


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
    email = body.get("userEmail")
    data["userEmail"] = data.get("userEmail")
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
