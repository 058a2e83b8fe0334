"""A dead letter: what its record is, why it was rejected, and whether the function would accept it now."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from event_service.adapters.topics import REJECTION
from event_service.codec.instants import Instant, instant_from_epoch, parse_instant_or_none
from event_service.codec.json_text import BYTE_ORDER_MARK
from event_service.dead_letters.queue import Message
from event_service.domain.envelope import FIRST_SENT_AT
from event_service.errors import RecordError
from event_service.steps.parse import parse

NO_REASON: Final = "none"  # of a letter that failed too often, in the list and as a filter
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message of the dead-letter queue.

    `message_id` is the id under which the function logged the record; the message has another one in the queue if it
    was rejected. `reason`, `field` and `error` are those of the rejection; None if the record failed too often.
    `problem`: why the record would be rejected now.
    """

    message: Message
    message_id: str
    reason: str | None
    field: str | None
    error: str | None
    event_type: str | None
    item_id: str | None
    first_sent_at: int
    problem: RecordError | None

    @property
    def ids(self) -> frozenset[str]:
        """The id of the record and that of the message in the queue."""
        return frozenset({self.message_id, self.message["MessageId"]})

    @property
    def sent_at(self) -> Instant | None:
        """When the record was first sent."""
        try:
            return instant_from_epoch(self.first_sent_at)
        except ValueError:
            return None

    @property
    def would_pass(self) -> bool:
        """Whether the record would be accepted now; a conflict stays one, because the stored event never changes."""
        return self.problem is None and self.reason != "conflict"

    def summary(self) -> Json:
        """Return what `list --json` prints."""
        return {
            "messageId": self.message_id,
            "reason": self.reason,
            "field": self.field,
            "error": self.error,
            "eventType": self.event_type,
            "itemId": self.item_id,
            "sentAt": self.sent_at,
            "receiveCount": int(self.message.get("Attributes", {}).get("ApproximateReceiveCount", 0)),
            "wouldPass": self.would_pass,
        }


def read_letter(message: Message) -> DeadLetter:
    """Read a message of the dead-letter queue; nothing in it can make this fail."""
    attributes = _texts(message.get("MessageAttributes"), "StringValue")
    rejection = _object(attributes.get(REJECTION))
    sent = _first_sent_at(message, attributes, rejection)
    record = _record(message, attributes | {FIRST_SENT_AT: attributes.get(FIRST_SENT_AT, str(sent))})
    parsed = parse(record)
    if parsed.event:
        named: tuple[str | None, str | None] = parsed.event.event_type, parsed.event.item_id
    else:
        named = _glimpse(message["Body"], attributes)
    return DeadLetter(
        message=message,
        message_id=_text(rejection.get("messageId")) or message["MessageId"],
        reason=_text(rejection.get("reason")),
        field=_text(rejection.get("field")),
        error=_text(rejection.get("error")),
        event_type=named[0],
        item_id=named[1],
        first_sent_at=sent,
        problem=parsed.error,
    )


def _first_sent_at(message: Message, attributes: Mapping[str, str], rejection: Json) -> int:
    """Return when the record was first sent, in epoch milliseconds."""
    if (sent := attributes.get(FIRST_SENT_AT, "")).isdecimal() and sent.isascii():
        return int(sent)
    if (instant := parse_instant_or_none(rejection.get("sentAt"))) is not None:
        return (datetime.fromisoformat(instant) - _EPOCH) // timedelta(milliseconds=1)
    return int(message.get("Attributes", {}).get("SentTimestamp", 0))


def _record(message: Message, attributes: Mapping[str, str]) -> Json:
    """Return the record that the function would get if the message were redriven now."""
    return {
        "messageId": message["MessageId"],
        "body": message["Body"],
        "attributes": {"SentTimestamp": str(time.time_ns() // 1_000_000)},
        "messageAttributes": {name: {"stringValue": value, "dataType": "String"} for name, value in attributes.items()},
    }


def _glimpse(body: str, attributes: Mapping[str, str]) -> tuple[str | None, str | None]:
    """Return what a rejected record says about its event type and item."""
    values = _object(body)
    if values.get("Type") == "Notification":
        attributes = _texts(values.get("MessageAttributes"), "Value")
        values = _object(values.get("Message"))
    if "specversion" in values:
        return _text(values.get("type")), _text(values.get("subject"))
    return _text(values.get("eventType")) or attributes.get("eventType"), _text(values.get("itemId"))


def _texts(attributes: Any, key: str) -> dict[str, str]:
    found = attributes.items() if isinstance(attributes, Mapping) else ()
    return {name: value[key] for name, value in found if isinstance(value, Mapping) and isinstance(value.get(key), str)}


def _object(text: Any) -> Json:
    try:
        value = json.loads(text.removeprefix(BYTE_ORDER_MARK), parse_int=float) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        value = None
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
