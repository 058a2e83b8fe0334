"""The notification topic, where facts are published."""

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Any

from event_service.adapters.batching import cut, send_in_batches
from event_service.adapters.sns import MAX_REQUEST_BYTES, MESSAGES_PER_REQUEST, publish_batch
from event_service.deadline import Deadline
from event_service.domain.event import Event
from event_service.domain.facts import Message, message_of
from event_service.errors import RecordError, Unavailable


@dataclass(frozen=True, slots=True)
class Topic:
    """The topic, and the client and threads to reach it with."""

    client: Any
    arn: str
    pool: Executor

    def publish(self, facts: Sequence[Event], deadline: Deadline) -> list[RecordError | None]:
        """Publish facts; return for each None, or why SNS did not accept it."""
        batches = partial(cut, count=MESSAGES_PER_REQUEST, size=MAX_REQUEST_BYTES, size_of=lambda message: message.size)
        return send_in_batches(
            [message_of(fact) for fact in facts],
            self._publish_batch,
            backend="notification_topic",
            batches=batches,
            pool=self.pool,
            deadline=deadline,
        )

    def _publish_batch(self, messages: Sequence[Message]) -> list[Unavailable | None]:
        return publish_batch(
            self.client, self.arn, "notification_topic", [(message.body, _attributes(message)) for message in messages]
        )


def _attributes(message: Message) -> dict[str, Any]:
    return {name: {"DataType": "String", "StringValue": value} for name, value in message.attributes.items()}
