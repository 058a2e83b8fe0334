"""The SNS topics: the notification topic, where facts go, and the rejected topic, the way to the dead-letter queue."""

from base64 import b64decode
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from event_service.adapters.batching import cut, is_retryable, send_in_batches
from event_service.deadline import Deadline
from event_service.domain.event import Event
from event_service.domain.facts import message_of
from event_service.errors import Backend, RecordError, Unavailable

REJECTION: Final = "rejection"  # the message attribute with the reason
# https://docs.aws.amazon.com/sns/latest/api/API_PublishBatch.html
_MESSAGES_PER_REQUEST: Final = 10
_MAX_REQUEST_BYTES: Final = 256 * 1024  # of all its messages, and of each
# SNS discards a message with more of them when it delivers raw to SQS:
# https://docs.aws.amazon.com/sns/latest/dg/sns-message-attributes.html
_MAX_ATTRIBUTES: Final = 10

Attributes = dict[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class _Message:
    """A message as it is published; `size` is what SNS counts, in bytes of UTF-8."""

    body: str
    attributes: Attributes
    size: int


@dataclass(frozen=True, slots=True)
class Topic:
    """The notification topic, and the client and threads to reach it with."""

    client: Any
    arn: str
    pool: Executor

    def publish(self, facts: Sequence[Event], deadline: Deadline) -> list[RecordError | None]:
        """Publish facts; return for each None, or why SNS did not accept it."""
        return _publish(self, "notification_topic", [_fact_message(fact) for fact in facts], deadline)


@dataclass(frozen=True, slots=True)
class RejectedTopic:
    """The rejected topic; with `background`, the caller sends while other steps run."""

    client: Any
    arn: str
    pool: Executor
    background: Executor

    def send(self, rejected: Sequence[tuple[Mapping[str, Any], str]], deadline: Deadline) -> list[RecordError | None]:
        """Send SQS records, each with its rejection as JSON; return for each None, or why it was not accepted.

        The body and the message attributes of a record are left unchanged; the attribute `rejection` is added.
        """
        messages = [_rejected_message(record, rejection) for record, rejection in rejected]
        publishable = [message for message in messages if isinstance(message, _Message)]
        answers = iter(_publish(self, "rejected_topic", publishable, deadline))
        return [next(answers) if isinstance(message, _Message) else message for message in messages]


def _publish(
    topic: Topic | RejectedTopic, backend: Backend, messages: Sequence[_Message], deadline: Deadline
) -> list[RecordError | None]:
    return send_in_batches(
        messages,
        lambda batch: _publish_batch(topic, backend, batch),
        backend=backend,
        batches=partial(
            cut, count=_MESSAGES_PER_REQUEST, size=_MAX_REQUEST_BYTES, size_of=lambda message: message.size
        ),
        pool=topic.pool,
        deadline=deadline,
    )


def _publish_batch(
    topic: Topic | RejectedTopic, backend: Backend, messages: Sequence[_Message]
) -> list[Unavailable | None]:
    """Publish up to 10 messages: SNS answers with status 200 and names those that failed."""
    entries = [
        {"Id": str(index), "Message": message.body, "MessageAttributes": message.attributes}
        for index, message in enumerate(messages)
    ]
    answer = topic.client.publish_batch(TopicArn=topic.arn, PublishBatchRequestEntries=entries)
    accepted = {success["Id"] for success in answer.get("Successful", [])}
    failed = {failure["Id"]: failure for failure in answer.get("Failed", [])}
    ids = (entry["Id"] for entry in entries)
    return [None if id_ in accepted else _failure(failed.get(id_, {}), backend) for id_ in ids]


def _failure(failure: dict[str, Any], backend: Backend) -> Unavailable:
    code = failure.get("Code", "")
    retryable = is_retryable(code) or not failure.get("SenderFault", False)
    return Unavailable(backend, f"answered {code}", retryable=retryable)


def _fact_message(fact: Event) -> _Message:
    message = message_of(fact)
    attributes = {name: {"DataType": "String", "StringValue": value} for name, value in message.attributes.items()}
    return _Message(message.body, attributes, message.size)


def _rejected_message(record: Mapping[str, Any], rejection: str) -> _Message | Unavailable:
    """Return the message of a record, or why the topic cannot take it."""
    body = record.get("body")
    try:
        attributes = _attributes(record.get("messageAttributes") or {})
        attributes[REJECTION] = {"DataType": "String", "StringValue": rejection}
        size = len(str(body).encode()) + sum(
            len(f"{name}{value['DataType']}".encode()) + len(_value(value)) for name, value in attributes.items()
        )
    except (AttributeError, KeyError, TypeError, ValueError):
        return Unavailable("rejected_topic", "the record has a body or an attribute that cannot be published")
    if not isinstance(body, str):
        return Unavailable("rejected_topic", "the record has no body")
    if len(attributes) > _MAX_ATTRIBUTES:
        return Unavailable("rejected_topic", f"the record already has {_MAX_ATTRIBUTES} message attributes")
    if size > _MAX_REQUEST_BYTES:
        return Unavailable("rejected_topic", f"the record is larger than {_MAX_REQUEST_BYTES:,} bytes")
    return _Message(body, attributes, size)


def _attributes(received: Mapping[str, Mapping[str, Any]]) -> Attributes:
    """Return message attributes, as Lambda passes them to a function, in the form of SNS."""
    attributes: Attributes = {}
    for name, value in received.items():
        kind = value.get("dataType") or "String"
        attributes[name] = (
            {"DataType": kind, "BinaryValue": b64decode(value["binaryValue"], validate=True)}
            if kind.startswith("Binary")
            else {"DataType": kind, "StringValue": str(value["stringValue"])}
        )
    return attributes


def _value(attribute: Mapping[str, Any]) -> bytes:
    return bytes(attribute["BinaryValue"]) if "BinaryValue" in attribute else attribute["StringValue"].encode()
