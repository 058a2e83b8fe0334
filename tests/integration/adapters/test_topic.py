import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import botocore.session
import pytest
from moto import mock_aws

from event_service.adapters.aws import make_client, make_transport
from event_service.adapters.data_plane import Sns
from event_service.adapters.topics import Topic as NotificationTopic
from event_service.deadline import Deadline
from event_service.domain.event import Event
from event_service.domain.facts import PendingFact, fact_of
from event_service.errors import RecordError


@pytest.fixture(autouse=True)
def in_process_aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        yield


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as executor:
        yield executor


class Topic:
    """A topic with a queue subscribed to it, and a record of the requests made; `failed` are answered as failed."""

    def __init__(self) -> None:
        session = botocore.session.get_session()
        self.sns = make_client(session, "sns")
        self.sqs = make_client(session, "sqs")
        self.arn = self.sns.create_topic(Name="facts")["TopicArn"]
        self.queue = self.sqs.create_queue(QueueName="facts")["QueueUrl"]
        queue_arn = self.sqs.get_queue_attributes(QueueUrl=self.queue, AttributeNames=["QueueArn"])
        self.sns.subscribe(
            TopicArn=self.arn,
            Protocol="sqs",
            Endpoint=queue_arn["Attributes"]["QueueArn"],
            Attributes={"RawMessageDelivery": "true"},
        )
        self.lean = Sns(make_transport(session, "sns"))
        self.requests: list[int] = []
        self.failed: dict[str, dict[str, Any]] = {}

    def publish_batch(self, **parameters: Any) -> Any:
        entries = parameters["PublishBatchRequestEntries"]
        self.requests.append(len(entries))
        accepted = [entry for entry in entries if entry["Id"] not in self.failed]
        answer = self.lean.publish_batch(**parameters | {"PublishBatchRequestEntries": accepted}) if accepted else {}
        failures = [{"Id": entry["Id"], **self.failed[entry["Id"]]} for entry in entries if entry["Id"] in self.failed]
        return {"Successful": answer.get("Successful", []), "Failed": failures}

    def received(self) -> list[Any]:
        messages = []
        while batch := self.sqs.receive_message(
            QueueUrl=self.queue, MaxNumberOfMessages=10, MessageAttributeNames=["All"]
        ).get("Messages"):
            messages += batch
        return messages


def fact(number: int, data: str = '{"id":"n"}') -> Event:
    change = PendingFact("reminder#i", f"2026-11-23T06:54:06.410000Z#{number}", "created", "n", "user-a", None, data)
    return fact_of(change)


def publish(topic: Topic, pool: ThreadPoolExecutor, *facts: Event) -> list[RecordError | None]:
    return NotificationTopic(topic, topic.arn, pool).publish(facts, Deadline.after(20))


def test_facts_are_published_ten_at_a_time(pool: ThreadPoolExecutor) -> None:
    """As native events, with their type and user as attributes."""
    topic = Topic()
    facts = [fact(number) for number in range(23)]
    assert publish(topic, pool, *facts) == [None] * 23
    assert sorted(topic.requests) == [3, 10, 10]
    messages = topic.received()
    assert {json.loads(message["Body"])["id"] for message in messages} == {fact.id for fact in facts}
    attributes = {name: value["StringValue"] for name, value in messages[0]["MessageAttributes"].items()}
    assert attributes == {"eventItemType": "notification", "eventType": "notification:created", "userId": "user-a"}


def test_a_request_has_no_more_than_sns_takes(pool: ThreadPoolExecutor) -> None:
    """256 KiB for all its messages together."""
    topic = Topic()
    facts = [fact(number, '{"x":"' + "y" * 100_000 + '"}') for number in range(5)]
    assert publish(topic, pool, *facts) == [None] * 5
    assert sorted(topic.requests) == [1, 2, 2]


def test_a_failed_entry_fails_alone(pool: ThreadPoolExecutor) -> None:
    """One that SNS blames on the sender is not worth another attempt."""
    topic = Topic()
    topic.failed = {"1": {"Code": "InvalidParameter", "SenderFault": True}}
    outcomes = publish(topic, pool, fact(0), fact(1), fact(2))
    assert [outcome and str(outcome) for outcome in outcomes] == [None, "answered InvalidParameter", None]
    assert [outcome.retryable for outcome in outcomes if outcome] == [False]
    assert topic.requests == [3]


@pytest.mark.parametrize(("code", "blamed"), [("InternalError", False), ("SomethingNew", False), ("Throttled", True)])
def test_an_entry_that_failed_for_a_moment_can_be_tried_again(
    pool: ThreadPoolExecutor, code: str, blamed: bool
) -> None:
    """It alone: the fact that SNS took needs no other attempt."""
    topic = Topic()
    topic.failed = {"1": {"Code": code, "SenderFault": blamed}}
    outcomes = publish(topic, pool, fact(0), fact(1))
    assert [outcome and (str(outcome), outcome.retryable) for outcome in outcomes] == [
        None,
        (f"answered {code}", True),
    ]
    assert topic.requests == [2]
    assert len(topic.received()) == 1


def test_a_topic_that_is_not_there_fails_every_fact(pool: ThreadPoolExecutor) -> None:
    """With SNS's code as the reason."""
    topic = Topic()
    outcomes = NotificationTopic(topic.sns, topic.arn + "-other", pool).publish([fact(0), fact(1)], Deadline.after(20))
    assert [str(outcome) for outcome in outcomes] == ["answered NotFound"] * 2
