"""The surroundings of the deployed service, for the demo and the end-to-end tests: producers, subscribers, readers."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from local.deployment import Deployment
from local.stack import Stack

_WAIT_SECONDS = 60


class UnexpectedError(Exception):
    """The service did something other than the demo shows."""


class World:
    """Publishes events to the deployed service and reads back the results."""

    def __init__(self, stack: Stack, deployment: Deployment) -> None:
        self._stack = stack
        self._deployment = deployment
        self._sns = stack.client("sns")
        self._sqs = stack.client("sqs")
        self._dynamodb = stack.client("dynamodb")
        self._facts = self._sqs.create_queue(QueueName="facts")["QueueUrl"]
        arn = self._sqs.get_queue_attributes(QueueUrl=self._facts, AttributeNames=["QueueArn"])["Attributes"][
            "QueueArn"
        ]
        self._sns.subscribe(
            TopicArn=deployment["NotificationTopicArn"],
            Protocol="sqs",
            Endpoint=arn,
            Attributes={"RawMessageDelivery": "true"},
        )

    def publish(self, event_type: str, event: dict[str, Any] | str) -> None:
        """Publish an event as the producers do."""
        attributes = {"eventType": event_type, "eventItemType": event_type.partition(":")[0]}
        self._sns.publish(
            TopicArn=self._deployment["EventTopicArn"],
            Message=event if isinstance(event, str) else json.dumps(event),
            MessageAttributes={
                name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()
            },
        )

    def events(self, stream: str | None = None) -> list[Any]:
        """Return the stored events of one stream, or of all, in order."""
        pages = self._dynamodb.get_paginator("scan").paginate(
            TableName=self._deployment["EventStoreTableName"], ConsistentRead=True
        )
        chosen = [item for page in pages for item in page["Items"] if stream in (None, item["pk"]["S"])]
        return sorted(chosen, key=lambda item: (item["pk"]["S"], item["sk"]["S"]))

    def query(self, statement: str, *parameters: object) -> list[Any]:
        """Query PostgreSQL as the scheduler does."""
        with psycopg.connect(self._stack.database_url) as connection:
            return connection.execute(statement.encode(), parameters).fetchall()

    def facts(self) -> list[Any]:
        """Return the facts that arrived."""
        return sorted(
            (json.loads(message["Body"]) for message in self._receive(self._facts)), key=lambda fact: fact["occurredAt"]
        )

    def dead_letters(self) -> list[tuple[str, str]]:
        """Return the published text of each dead letter, and the error of its rejection."""
        messages = self._receive(self._deployment["EventDeadLetterQueueUrl"])
        return [
            (
                json.loads(message["Body"])["Message"],
                json.loads(message["MessageAttributes"]["rejection"]["StringValue"])["error"],
            )
            for message in messages
        ]

    def dead_letter_count(self) -> int:
        """Return the number of dead letters that nobody has received."""
        return self._count(self._deployment["EventDeadLetterQueueUrl"])[0]

    def waiting(self) -> int:
        """Return the number of messages in the event queue, waiting or in flight."""
        return sum(self._count(self._deployment["EventQueueUrl"]))

    def is_drained(self) -> bool:
        """Return whether the event queue is empty and the one bad message is a dead letter."""
        return self.waiting() == 0 and self.dead_letter_count() == 1

    @contextmanager
    def raw_delivery(self) -> Iterator[None]:
        """Have the event topic deliver bare events while the context is open."""
        self._set_raw_delivery("true")
        try:
            yield
        finally:
            self._set_raw_delivery("false")

    def _set_raw_delivery(self, value: str) -> None:
        topic = self._deployment["EventTopicArn"]
        (subscription,) = self._sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"]
        self._sns.set_subscription_attributes(
            SubscriptionArn=subscription["SubscriptionArn"],
            AttributeName="RawMessageDelivery",
            AttributeValue=value,
        )

    def wait(self, what: str, done: Callable[[], bool]) -> None:
        """Wait until `done()`; raise UnexpectedError after a minute."""
        give_up = time.monotonic() + _WAIT_SECONDS
        while not done():
            if time.monotonic() > give_up:
                raise UnexpectedError(f"waited {_WAIT_SECONDS} s for {what}: {len(self.events())} events are stored")
            time.sleep(0.2)

    def _receive(self, queue: str) -> list[Any]:
        messages: list[Any] = []
        while batch := self._sqs.receive_message(
            QueueUrl=queue, MaxNumberOfMessages=10, MessageAttributeNames=["All"]
        ).get("Messages"):
            messages += batch
        return messages

    def _count(self, queue: str) -> tuple[int, int]:
        names = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")
        attributes = self._sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=[*names])["Attributes"]
        return int(attributes[names[0]]), int(attributes[names[1]])
