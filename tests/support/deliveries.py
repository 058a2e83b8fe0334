"""The service's parts in this thread, and deliveries that can stop after each step of the pipeline."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import botocore.session
import psycopg

from event_service.adapters.aws import make_transport
from event_service.adapters.data_plane import DynamoDb, Sns
from event_service.adapters.event_items import Item
from event_service.adapters.event_store import EventStore
from event_service.adapters.notifications import Notifications, ProjectedEvent
from event_service.adapters.topics import Topic
from event_service.cli import make_patient_client
from event_service.deadline import Deadline
from event_service.domain.projection import project
from event_service.pipeline import Achieved, append, apply
from event_service.steps.parse import parse
from event_service.steps.relay import Relay, Relayed, acknowledge, publish
from tests.integration.adapters.service_database import database_at
from tests.support.aws import Aws
from tests.support.formats import native_raw
from tests.support.interleaving import Here, Pausing
from tests.support.oracle import Event


@dataclass
class Lane:
    """The backends as two execution environments and the commands see them, and the facts that SNS was sent."""

    aws: Aws
    url: str
    sent: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.client = make_patient_client("dynamodb")
        self.connection: Any = psycopg.connect(self.url, autocommit=True)
        self.relays = [self._relay() for _ in range(2)]

    def _relay(self) -> Relay:
        """The backends of one execution environment, whose requests come one after the other."""
        session, here = botocore.session.get_session(), Here()
        sns = Pausing(Sns(make_transport(session, "sns")), {"publish_batch"}, self._note)
        return Relay(
            EventStore(DynamoDb(make_transport(session, "dynamodb")), self.aws.table, here),
            Notifications(database_at(self.url)),
            Topic(sns, self.aws.topic_arn, here),
            here,
        )

    def read(self, pk: str) -> list[Item]:
        """The items of a stream."""
        answer = self.client.query(
            TableName=self.aws.table,
            KeyConditionExpression="pk = :pk",
            ExpressionAttributeValues={":pk": {"S": pk}},
            ConsistentRead=True,
        )
        return list(answer["Items"])

    def _note(self, _: str, request: Any) -> None:
        self.sent += [json.loads(entry["Message"]) for entry in request["PublishBatchRequestEntries"]]


def delivery(events: Sequence[Event], relay: Relay) -> Iterator[str]:
    """Deliver events in one batch, as the pipeline does; yield the name of each step when it is done."""
    deadline, achieved = Deadline.after(60), Achieved()
    records = {number: parse(native_raw(event)) for number, event in enumerate(events)}
    assert append(records, achieved, relay, deadline) == {}
    yield "appended"
    projected = {}
    for number, record in records.items():
        event = achieved.appended[number].event
        if known := event.known_type:
            projected[event.key] = ProjectedEvent(event, known, project(event, known), record.published_at)
    failures, facts = apply(projected, achieved, relay, deadline)
    assert failures == {}
    yield "applied"
    assert publish(facts, Relayed(), relay, deadline) == {}
    yield "published"
    assert acknowledge([fact.key for fact in facts], relay, deadline, claim=False) == ({}, [])
    yield "acknowledged"
