"""An SQS record, opened: the event's text and what the envelope says about it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from event_service.codec.instants import Instant, instant_from_epoch, parse_instant
from event_service.codec.json_text import BYTE_ORDER_MARK, parse_object
from event_service.errors import Rejected

# A redrive from the dead-letter queue adds it, so that an event without its own time keeps its time.
FIRST_SENT_AT: Final = "firstSentAt"


@dataclass(frozen=True, slots=True)
class Envelope:
    """The event in a record, and the message attributes it was published with.

    `message_id` and `timestamp` are those of the SNS notification; None for raw delivery and direct sends.
    `sent_timestamp` is SQS's, in epoch milliseconds.
    """

    text: str
    values: Mapping[str, Any]
    attributes: Mapping[str, str]
    message_id: str | None
    timestamp: str | None
    sent_timestamp: str | None

    @property
    def name(self) -> str:
        """What errors call the event's text."""
        return "body" if self.message_id is None else "Message"

    def published_at(self) -> Instant:
        """Return when the message was published (SNS) or first sent (SQS).

        Raises:
            Rejected: the envelope does not say.

        """
        if self.message_id is not None:
            return _sns_instant(self.timestamp)
        if (first_sent_at := self.attributes.get(FIRST_SENT_AT)) is not None:
            return _epoch_instant(first_sent_at, f"messageAttributes.{FIRST_SENT_AT}")
        return _epoch_instant(self.sent_timestamp, "attributes.SentTimestamp")

    def published_at_or_none(self) -> Instant | None:
        """Return `published_at`; if the envelope does not say, when the record was sent, or None."""
        try:
            return self.published_at()
        except Rejected:
            return self.sent_at()

    def sent_at(self, later_milliseconds: int = 0) -> Instant | None:
        """Return when this record was sent to the queue, plus `later_milliseconds`; None if the record does not say."""
        try:
            return instant_from_epoch(int(self.sent_timestamp or "") + later_milliseconds)
        except ValueError:
            return None


def open_envelope(record: Mapping[str, Any]) -> Envelope:
    """Open an SQS record as Lambda delivers it, whether or not an SNS notification wraps the event.

    The wrapped form: https://docs.aws.amazon.com/sns/latest/dg/sns-message-and-json-formats.html

    Raises:
        Rejected: the body, or the message in it, is not a JSON object that can be stored.

    """
    body = record.get("body")
    if not isinstance(body, str):
        raise Rejected("invalid_field", "is not a text", "body")
    body = body.removeprefix(BYTE_ORDER_MARK)
    sent_timestamp = _mapping(record.get("attributes")).get("SentTimestamp")
    values = _parse_event(body, "body")
    if values.get("Type") == "Notification":
        return _open_notification(values, sent_timestamp)
    return Envelope(
        text=body,
        values=values,
        attributes=_attributes(record.get("messageAttributes"), "stringValue"),
        message_id=None,
        timestamp=None,
        sent_timestamp=sent_timestamp,
    )


def _open_notification(notification: Mapping[str, Any], sent_timestamp: str | None) -> Envelope:
    message = _text(notification, "Message").removeprefix(BYTE_ORDER_MARK)
    timestamp = notification.get("Timestamp")
    return Envelope(
        text=message,
        values=_parse_event(message, "Message"),
        attributes=_attributes(notification.get("MessageAttributes"), "Value"),
        message_id=_text(notification, "MessageId"),
        timestamp=timestamp if isinstance(timestamp, str) else None,
        sent_timestamp=sent_timestamp,
    )


def _parse_event(text: str, name: str) -> dict[str, Any]:
    """Parse an event and leave out its null members: null means absent (CloudEvents JSON format 1.0.2, section 2.2)."""
    values = parse_object(text, name, (f"{name}.eventData", f"{name}.data.eventData"))
    return {field: value for field, value in values.items() if value is not None}


def _text(notification: Mapping[str, Any], field: str) -> str:
    value = notification.get(field)
    if not isinstance(value, str):
        raise Rejected("invalid_field", "is missing or not a text", field)
    return value


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _attributes(attributes: Any, value_key: str) -> dict[str, str]:
    """Return the text attributes; the event has no use for binary ones or for forms unknown to SNS and SQS."""
    return {
        name: attribute[value_key]
        for name, attribute in _mapping(attributes).items()
        if isinstance(attribute, dict) and isinstance(attribute.get(value_key), str)
    }


def _sns_instant(timestamp: str | None) -> Instant:
    try:
        instant = parse_instant(timestamp or "")
    except ValueError as exc:
        raise Rejected("invalid_field", f"{exc}, and the event has no time itself", "Timestamp") from exc
    if timestamp and "." not in timestamp:
        # Truncated to the second: an event must not seem older than the data in it.
        return Instant(instant.replace(".000000Z", ".999999Z"))
    return instant


def _epoch_instant(milliseconds: str | None, field: str) -> Instant:
    try:
        return instant_from_epoch(int(milliseconds or ""))
    except ValueError as exc:
        problem = "is not a time in epoch milliseconds, and the event has no time itself"
        raise Rejected("invalid_field", problem, field) from exc
