"""The first step of the pipeline: a record validated, and its event projected, without any I/O."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from event_service.adapters.event_items import MAX_ITEM_BYTES, size_of, to_item
from event_service.codec.instants import Instant
from event_service.domain.envelope import open_envelope
from event_service.domain.event import Event
from event_service.domain.facts import MAX_MESSAGE_BYTES, PendingFact, fact_of, message_of
from event_service.domain.formats import read_event
from event_service.domain.projection import project
from event_service.errors import RecordError, Rejected, internal_error

# Whatever its fact adds, an event of this size fits everywhere: smaller ones need no calculation.
_CERTAINLY_FITS_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class ParsedRecord:
    """A record's event, or why there is none.

    `notification` is the row that an event of a known type makes (`projection.project`), as JSON. `published_at` is the
    envelope's time; None if it does not say.
    """

    event: Event | None = None
    notification: str | None = None
    published_at: Instant | None = None
    error: RecordError | None = None


def parse(record: Mapping[str, Any]) -> ParsedRecord:
    """Validate a record; nothing of a rejected one may be stored or applied."""
    event = None
    try:
        envelope = open_envelope(record)
        event = read_event(envelope)
        notification = project(event, event.known_type) if event.known_type else None
        check_size(event, notification)
    except RecordError as exc:
        return ParsedRecord(event, error=exc)
    except Exception as exc:  # noqa: BLE001  # a bug that one record brings out must not fail another record
        return ParsedRecord(event, error=internal_error(exc))
    return ParsedRecord(event, notification, envelope.published_at_or_none())


def check_size(event: Event, notification: str | None) -> None:
    """Check that an event and its fact fit the event store, and that the fact can be published.

    Raises:
        Rejected: one of them does not fit.

    """
    texts = (notification or "", event.data, event.user_email or "", event.causation_id or "")
    if sum(map(len, texts)) * 4 < _CERTAINLY_FITS_BYTES:  # a character has at most 4 bytes of UTF-8
        return
    _check_item(event)
    if notification is not None:
        # The kind of change and this instant are not known yet, but they are not longer than these.
        created_at = f',"createdAt":"{event.occurred_at}"}}'
        fact = fact_of(
            PendingFact(
                event.pk,
                event.sk,
                "created",
                "-" * 36,
                event.user_id,
                event.user_email,
                notification[:-1] + created_at,
            )
        )
        _check_item(fact)
        if message_of(fact).size > MAX_MESSAGE_BYTES:
            raise Rejected("too_large", "is too large for a fact to be published", "userEmail")


def _check_item(event: Event) -> None:
    item = to_item(event, event.occurred_at, retention_days=1)
    if size_of(item) > MAX_ITEM_BYTES - 64:  # compressed, other digits may take a few bytes more
        texts = {"eventData": event.data, "userEmail": event.user_email, "causationId": event.causation_id}
        largest = max(texts, key=lambda name: len(texts[name] or ""))
        raise Rejected("too_large", f"does not fit an item of {MAX_ITEM_BYTES:,} bytes even when compressed", largest)
