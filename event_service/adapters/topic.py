"""The notification topic, where facts are published."""

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from event_service.adapters.batching import cut, is_retryable, send_in_batches
from event_service.deadline import Deadline
from event_service.domain.event import Event
from event_service.domain.facts import MAX_MESSAGE_BYTES, Message, message_of
from event_service.errors import RecordError, Unavailable

_MESSAGES_PER_REQUEST: Final = 10  # https://docs.aws.amazon.com/sns/latest/api/API_PublishBatch.html


@dataclass(frozen=True, slots=True)
class Topic:
    """The topic, and the client and threads to reach it with."""

    client: Any
    arn: str
    pool: Executor

    def publish(self, facts: Sequence[Event], deadline: Deadline) -> list[RecordError | None]:
        """Publish facts; return for each None, or why SNS did not accept it."""
        batches = partial(
            cut, count=_MESSAGES_PER_REQUEST, size=MAX_MESSAGE_BYTES, size_of=lambda message: message.size
        )
        return send_in_batches(
            [message_of(fact) for fact in facts],
            self._publish_batch,
            backend="notification_topic",
            batches=batches,
            pool=self.pool,
            deadline=deadline,
        )

    def _publish_batch(self, messages: Sequence[Message]) -> list[Unavailable | None]:
        """Publish up to 10 messages of 256 KiB in total; SNS answers 200 and names those that failed."""
        entries = [
            {
                "Id": str(index),
                "Message": message.body,
                "MessageAttributes": {
                    name: {"DataType": "String", "StringValue": value} for name, value in message.attributes.items()
                },
            }
            for index, message in enumerate(messages)
        ]
        answer = self.client.publish_batch(TopicArn=self.arn, PublishBatchRequestEntries=entries)
        accepted = {success["Id"] for success in answer.get("Successful", [])}
        failed = {failure["Id"]: failure for failure in answer.get("Failed", [])}
        ids = [str(index) for index in range(len(messages))]
        return [None if id_ in accepted else _failure(failed.get(id_, {})) for id_ in ids]


def _failure(failure: dict[str, Any]) -> Unavailable:
    code = failure.get("Code", "")
    retryable = is_retryable(code) or not failure.get("SenderFault", False)
    return Unavailable("notification_topic", f"answered {code}", retryable=retryable)
