"""Every reason why a record would be rejected; the function itself stops at the first kind."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Final, cast

from pydantic import ValidationError

from event_service.codec.json_text import raw_members
from event_service.codec.jsonb import check_numbers
from event_service.domain.envelope import open_envelope
from event_service.domain.event import KNOWN_TYPES, Event
from event_service.domain.formats import problems_of
from event_service.domain.projection import delivery_time
from event_service.errors import RecordError, Rejected
from event_service.steps.parse import parse

# Message attributes count too, but they are small.
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
_MAX_MESSAGE_BYTES: Final = 1024 * 1024


def judge(record: Any) -> Event | RecordError:
    """Return the event that the function would read from a record, or why it would reject the record."""
    if not isinstance(record, dict):
        return Rejected("invalid_field", "is not an object", "Records")
    size = len(str(record.get("body", "")).encode(errors="surrogatepass"))
    if size > _MAX_MESSAGE_BYTES:
        return Rejected("too_large", f"has {size:,} bytes; SQS accepts at most {_MAX_MESSAGE_BYTES:,}", "body")
    parsed = parse(record)
    return parsed.error or cast("Event", parsed.event)  # there is always one of the two


def problems(record: Mapping[str, Any], error: RecordError) -> list[tuple[str, str]]:
    """Return the reason and the description, which begins with the field's path, of every problem of a record."""
    fields: list[tuple[str, str]] = []
    if isinstance(error.__cause__, ValidationError):
        fields = [(error.reason, f"{path}: {message}") for path, message in problems_of(error.__cause__)]
    elif not (error.field or "").startswith("eventData"):
        return [(error.reason, str(error))]
    data = [(problem.reason, str(problem)) for problem in _data_problems(record)]
    return fields + data or [(error.reason, str(error))]


def _data_problems(record: Mapping[str, Any]) -> Iterator[Rejected]:
    """Yield the problems in the data of a known type, whether or not other fields have problems."""
    envelope = open_envelope(record)
    members = raw_members(envelope.text)
    event_type = envelope.values.get("eventType", envelope.attributes.get("eventType"))
    if "specversion" in envelope.values:
        event_type = envelope.values.get("type")
        members = raw_members(data) if (data := members.get("data", "")).startswith("{") else {}
    data = members.get("eventData", "")
    if not isinstance(event_type, str) or event_type not in KNOWN_TYPES or not data.startswith("{"):
        return
    checks: list[Callable[[], object]] = [
        partial(delivery_time, raw_members(data), KNOWN_TYPES[event_type].effect),
        partial(check_numbers, data, "eventData"),
    ]
    for check in checks:
        try:
            check()
        except Rejected as exc:
            yield exc
