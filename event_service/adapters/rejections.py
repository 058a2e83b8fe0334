"""The rejected topic, through which rejected records reach the dead-letter queue."""

from base64 import b64decode
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from event_service.adapters.batching import cut, send_in_batches
from event_service.adapters.sns import MAX_REQUEST_BYTES, MESSAGES_PER_REQUEST, publish_batch
from event_service.deadline import Deadline
from event_service.errors import RecordError, Unavailable

REJECTION: Final = "rejection"  # the message attribute with the reason
# SNS discards a message with more of them when it delivers raw to SQS:
# https://docs.aws.amazon.com/sns/latest/dg/sns-message-attributes.html
_MAX_ATTRIBUTES: Final = 10

Attributes = dict[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class RejectedTopic:
    """The topic, and the client and threads to reach it with; `background` is for the caller, while other steps run."""

    client: Any
    arn: str
    pool: Executor
    background: Executor

    def send(self, rejected: Sequence[tuple[Mapping[str, Any], str]], deadline: Deadline) -> list[RecordError | None]:
        """Send SQS records, each with its rejection as JSON; return for each None, or why it was not accepted.

        The body and the message attributes of a record are left unchanged; the attribute `rejection` is added.
        """
        outcomes: list[RecordError | None] = []
        messages: list[_Message] = []
        for record, rejection in rejected:
            message = _message(record, rejection)
            if isinstance(message, RecordError):
                outcomes.append(message)
            else:
                outcomes.append(None)
                messages.append(message)
        batches = partial(cut, count=MESSAGES_PER_REQUEST, size=MAX_REQUEST_BYTES, size_of=lambda message: message.size)
        answers = iter(
            send_in_batches(
                messages,
                self._publish_batch,
                backend="rejected_topic",
                batches=batches,
                pool=self.pool,
                deadline=deadline,
            )
        )
        return [next(answers) if outcome is None else outcome for outcome in outcomes]

    def _publish_batch(self, messages: Sequence["_Message"]) -> list[Unavailable | None]:
        return publish_batch(
            self.client, self.arn, "rejected_topic", [(message.body, message.attributes) for message in messages]
        )


@dataclass(frozen=True, slots=True)
class _Message:
    """A record as it is published; `size` is what SNS counts, in bytes of UTF-8."""

    body: str
    attributes: Attributes
    size: int


def _message(record: Mapping[str, Any], rejection: str) -> _Message | Unavailable:
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
    if size > MAX_REQUEST_BYTES:
        return Unavailable("rejected_topic", f"the record is larger than {MAX_REQUEST_BYTES:,} bytes")
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
