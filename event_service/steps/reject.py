"""Hands rejected records over to the dead-letter queue, through the rejected topic, while the other steps run."""

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from typing import Any, Final

from event_service.adapters.topics import RejectedTopic
from event_service.codec.instants import Instant, instant_from_epoch, now
from event_service.deadline import Deadline
from event_service.errors import RecordError, Rejected, internal_error, lasting_error, out_of_time

# How long a batch waits for the topic if the batch before had given it up.
_SECONDS_IF_DOWN: Final = 2
# How long before the batch's own deadline the topic is given up, so that the batch still learns why.
_SECONDS_TO_REPORT: Final = 0.1


@dataclass(frozen=True, slots=True)
class RejectedRecords:
    """The records of a batch that were rejected so far, on their way to the dead-letter queue.

    Without a topic, they are not handed over. `is_down`: the batch before had given the topic up.
    """

    records: Sequence[Mapping[str, Any]]
    topic: RejectedTopic | None
    deadline: Deadline
    is_down: bool
    sending: dict[int, "Future[dict[int, RecordError | None]]"] = field(default_factory=dict)

    def hand_over(self, errors: Mapping[int, RecordError | None]) -> None:
        """Start to send the records, by number, whose error is a rejection: it is final, so each comes once."""
        new = {number: error for number, error in errors.items() if isinstance(error, Rejected)}
        if new and self.topic is not None:
            deadline = Deadline(self.deadline.at - _SECONDS_TO_REPORT)
            if self.is_down:
                deadline = deadline.within(_SECONDS_IF_DOWN)
            request = self.topic.background.submit(_send, self.records, new, self.topic, deadline)
            self.sending.update(dict.fromkeys(new, request))

    def outcomes(self) -> dict[int, RecordError | None]:
        """Return for each rejected record None if the topic accepted it, otherwise why it did not."""
        wait({*self.sending.values()}, timeout=self.deadline.remaining())
        return {
            number: request.result()[number] if request.done() else out_of_time()
            for number, request in self.sending.items()
        }


def _send(
    records: Sequence[Mapping[str, Any]], rejected: Mapping[int, Rejected], topic: RejectedTopic, deadline: Deadline
) -> dict[int, RecordError | None]:
    """Send records until the topic has accepted each of them or refused it for good, or the deadline comes."""
    outcomes: dict[int, RecordError | None] = dict.fromkeys(rejected, out_of_time())
    pending = [*rejected]
    try:
        for _ in deadline.attempts():
            messages = [(records[number], _rejection(records[number], rejected[number])) for number in pending]
            answers = zip(pending, topic.send(messages, deadline), strict=True)
            outcomes |= {number: lasting_error(outcomes[number], answer) for number, answer in answers}
            pending = [number for number in pending if (error := outcomes[number]) and error.retryable]
            if not pending:
                break
    except Exception as exc:  # noqa: BLE001  # the records fail with their reason, the others continue
        return outcomes | dict.fromkeys(pending, internal_error(exc))
    return outcomes


def _rejection(record: Mapping[str, Any], error: Rejected) -> str:
    """Return the attribute `rejection`; nothing in it is a value of the event."""
    return json.dumps(
        {
            "reason": error.reason,
            "field": error.field,
            "error": str(error),
            "messageId": record.get("messageId"),
            "sentAt": _sent_at(record),
            "rejectedAt": now(),
        }
    )


def _sent_at(record: Mapping[str, Any]) -> Instant | None:
    try:
        return instant_from_epoch(int(record["attributes"]["SentTimestamp"]))
    except (KeyError, TypeError, ValueError):
        return None
