"""Why a record did not get all the way through.

There are two kinds of failure. The event is wrong: it stays wrong however often it is delivered, and the dead-letter
queue is where it belongs. Or the world is: a backend did not do its part, and a later delivery will succeed.
Either way the record goes back to the queue; nothing of a rejected event is stored or applied.
"""

import traceback
from pathlib import Path
from typing import Literal

RejectionReason = Literal[
    "not_json",
    "too_deep",
    "not_finite",
    "invalid_text",
    "invalid_field",
    "number_out_of_range",
    "too_large",
    "conflict",
]
UnavailableReason = Literal["event_store", "notifications", "notification_topic", "deadline", "internal"]


class RecordError(Exception):
    """A record was not carried all the way through; the text is safe to log.

    The text never holds a value of the event: those are other people's data.
    """

    def __init__(self, reason: str, message: str, field: str | None = None) -> None:
        super().__init__(f"{field}: {message}" if field else message)
        self.reason = reason
        self.field = field


class Rejected(RecordError):
    """The event itself is wrong. `field` is the path at fault, such as `eventData.date`."""

    def __init__(self, reason: RejectionReason, message: str, field: str | None = None) -> None:
        super().__init__(reason, message, field)


class Unavailable(RecordError):
    """A backend did not do its part. `retryable`: trying again at once may help."""

    def __init__(self, reason: UnavailableReason, message: str, *, retryable: bool = False) -> None:
        super().__init__(reason, message)
        self.retryable = retryable


def out_of_time() -> Unavailable:
    """Return what the deadline makes of a record that was not carried through by then."""
    return Unavailable("deadline", "there was no time left in the invocation")


def internal_error(exc: Exception) -> Unavailable:
    """Return what an exception that nobody expected makes of a record: its type and place, but not its text."""
    *_, (frame, line) = traceback.walk_tb(exc.__traceback__)
    place = f"{Path(frame.f_code.co_filename).name}:{line} in {frame.f_code.co_name}"
    return Unavailable("internal", f"{type(exc).__name__} at {place}")
