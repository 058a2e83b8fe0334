"""The queues of one test: an event queue, its dead-letter queue, and the rejected topic that delivers to it."""

import itertools
import json
from dataclasses import dataclass
from itertools import chain
from typing import Any

from local.stack import Stack
from tests.support.messages import Record

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Letters:
    """The rejected topic and the two queues, as the template connects them."""

    topic_arn: str
    queue_url: str
    event_queue_url: str
    sns: Any
    sqs: Any

    def environment(self) -> dict[str, str]:
        """The variables of the command `dead_letters`."""
        return {"DEAD_LETTER_QUEUE_URL": self.queue_url, "EVENT_QUEUE_URL": self.event_queue_url}

    def received(self, url: str = "") -> list[Any]:
        """The messages of a queue, by default of the dead-letter queue; they are visible again afterwards."""
        batches: list[list[Any]] = []
        while batch := self.sqs.receive_message(
            QueueUrl=url or self.queue_url,
            MaxNumberOfMessages=10,
            MessageAttributeNames=["All"],
            AttributeNames=["All"],
            VisibilityTimeout=30,
        ).get("Messages"):
            batches.append(batch)
        for batch in batches:
            entries = [
                {"Id": str(n), "ReceiptHandle": message["ReceiptHandle"], "VisibilityTimeout": 0}
                for n, message in enumerate(batch)
            ]
            self.sqs.change_message_visibility_batch(QueueUrl=url or self.queue_url, Entries=entries)
        return [*chain.from_iterable(batches)]

    def count(self, url: str) -> tuple[int, int]:
        """How many messages of a queue are visible and in flight."""
        names = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")
        found = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=[*names])["Attributes"]
        return int(found[names[0]]), int(found[names[1]])

    def put(self, *records: Record, rejection: dict[str, Any] | None = None) -> list[str]:
        """Send records to the dead-letter queue, as the topic or SQS would; return their ids in the queue."""
        ids = []
        for record in records:
            attributes = {
                name: {"DataType": value["dataType"], "StringValue": value["stringValue"]}
                for name, value in record["messageAttributes"].items()
            }
            if rejection is not None:
                attributes["rejection"] = {"DataType": "String", "StringValue": json.dumps(rejection)}
            answer = self.sqs.send_message(
                QueueUrl=self.queue_url, MessageBody=record["body"], MessageAttributes=attributes
            )
            ids.append(answer["MessageId"])
        return ids


def make_letters(stack: Stack) -> Letters:
    """Make the topic and the queues."""
    number = next(_numbers)
    sns, sqs = stack.client("sns"), stack.client("sqs")
    topic = sns.create_topic(Name=f"rejected-{number}")["TopicArn"]
    queue = sqs.create_queue(QueueName=f"dead-letters-{number}")["QueueUrl"]
    events = sqs.create_queue(QueueName=f"events-{number}")["QueueUrl"]
    letters = Letters(topic, queue, events, sns, sqs)
    subscribe(letters)
    return letters


def subscribe(letters: Letters) -> None:
    """Let the rejected topic deliver to the dead-letter queue, raw."""
    names: Any = letters.sqs.get_queue_attributes(QueueUrl=letters.queue_url, AttributeNames=["QueueArn"])
    letters.sns.subscribe(
        TopicArn=letters.topic_arn,
        Protocol="sqs",
        Endpoint=names["Attributes"]["QueueArn"],
        Attributes={"RawMessageDelivery": "true"},
    )
