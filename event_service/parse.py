"""The first step of the pipeline: a record becomes an event, or is rejected."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from event_service.adapters.event_items import check_size
from event_service.domain.envelope import open_envelope
from event_service.domain.event import Event
from event_service.domain.formats import read_event
from event_service.domain.projection import project
from event_service.errors import RecordError, internal_error


@dataclass(frozen=True, slots=True)
class ParsedRecord:
    """A record's event and the notification it makes, as JSON, if it makes one; or the error."""

    event: Event | None = None
    notification: str | None = None
    error: RecordError | None = None


def parse(record: Mapping[str, Any]) -> ParsedRecord:
    """Validate a record; nothing of a rejected record is stored or applied."""
    try:
        event = read_event(open_envelope(record))
        notification = project(event) if event.effect else None
        check_size(event, notification)
    except RecordError as exc:
        return ParsedRecord(error=exc)
    except Exception as exc:  # noqa: BLE001  # a bug that one record triggers must not fail its neighbours
        return ParsedRecord(error=internal_error(exc))
    return ParsedRecord(event, notification)
