"""An SQS record, opened: the event's text and what the envelope says beside it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from event_service.codec.instants import Instant, instant_from_epoch, parse_instant
from event_service.codec.json_text import parse_object
from event_service.errors import Rejected


@dataclass(frozen=True, slots=True)
class Envelope:
    """What a record holds: the event and the message attributes it was published with.

    `message_id` and `timestamp` are those of the SNS notification; None under raw delivery and direct sends.
    """

    text: str
    values: Mapping[str, Any]
    attributes: Mapping[str, str]
    message_id: str | None
    timestamp: str | None
    sent_timestamp: str | None

    def time(self) -> Instant:
        """Return when the message was published (SNS) or sent (SQS).

        Raises:
            Rejected: the envelope does not say.

        """
        field = "Timestamp" if self.message_id is not None else "attributes.SentTimestamp"
        try:
            if self.message_id is not None:
                return parse_instant(self.timestamp or "")
            return instant_from_epoch(int(self.sent_timestamp or ""))
        except ValueError as exc:
            raise Rejected("invalid_field", "is no instant, and the event brings no time of its own", field) from exc


def open_envelope(record: Mapping[str, Any]) -> Envelope:
    """Open an SQS record as Lambda delivers it: with the SNS notification around the event, or without.

    The wrapped form: https://docs.aws.amazon.com/sns/latest/dg/sns-message-and-json-formats.html

    Raises:
        Rejected: the body, or the message in it, is no JSON object that can be stored.

    """
    body = record.get("body")
    if not isinstance(body, str):
        raise Rejected("invalid_field", "is no text", "body")
    sent_timestamp = record.get("attributes", {}).get("SentTimestamp")
    values = parse_object(body, "body")
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
    message = _text(notification, "Message")
    timestamp = notification.get("Timestamp")
    return Envelope(
        text=message,
        values=parse_object(message, "Message"),
        attributes=_attributes(notification.get("MessageAttributes"), "Value"),
        message_id=_text(notification, "MessageId"),
        timestamp=timestamp if isinstance(timestamp, str) else None,
        sent_timestamp=sent_timestamp,
    )


def _text(notification: Mapping[str, Any], field: str) -> str:
    value = notification.get(field)
    if not isinstance(value, str):
        raise Rejected("invalid_field", "is missing or no text", field)
    return value


def _attributes(attributes: Any, value_key: str) -> dict[str, str]:
    """Return the text attributes; binary ones and those of no form known to SNS and SQS are no event's."""
    if not isinstance(attributes, dict):
        return {}
    return {
        name: attribute[value_key]
        for name, attribute in attributes.items()
        if isinstance(attribute, dict) and isinstance(attribute.get(value_key), str)
    }
