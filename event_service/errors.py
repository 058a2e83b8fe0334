"""Why a record failed.

There are two kinds of failure. Either the event is wrong: it stays wrong however often it is delivered. Or the world
is: a backend is unavailable, and a later delivery will succeed. Nothing of a rejected event is stored or applied.
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
Backend = Literal["event_store", "notifications", "notification_topic", "rejected_topic"]
UnavailableReason = Literal[Backend, "deadline", "internal"]


class CommandError(Exception):
    """A command cannot do what it was asked for; the message says why."""


class Paused(Exception):
    """A command has used up its time; the same command resumes the work."""


class RecordError(Exception):
    """A record failed; the text is safe to log because it never holds a value of the event."""

    def __init__(self, reason: str, message: str, field: str | None = None) -> None:
        super().__init__(f"{field}: {message}" if field else message)
        self.reason = reason
        self.field = field
        self.retryable = False


class Rejected(RecordError):
    """The event is wrong. `field` is the path at fault, such as `eventData.date`."""

    def __init__(self, reason: RejectionReason, message: str, field: str | None = None) -> None:
        super().__init__(reason, message, field)


class Unavailable(RecordError):
    """A backend is unavailable. `retryable`: another attempt may succeed at once."""

    def __init__(self, reason: UnavailableReason, message: str, *, retryable: bool = False) -> None:
        super().__init__(reason, message)
        self.retryable = retryable


def out_of_time() -> Unavailable:
    """Return the error of a record that the deadline overtook."""
    return Unavailable("deadline", "the invocation has no time left")


def internal_error(exc: Exception) -> Unavailable:
    """Return the error of a record that an unforeseen exception failed: its type and place, but not its text."""
    *_, (frame, line) = traceback.walk_tb(exc.__traceback__)
    place = f"{Path(frame.f_code.co_filename).name}:{line} in {frame.f_code.co_name}"
    return Unavailable("internal", f"{type(exc).__name__} at {place}")


def lasting_error(before: RecordError | None, now: RecordError | None) -> RecordError | None:
    """Return a record's error after another attempt; running out of time does not hide what failed before."""
    return before if before and before.retryable and now and now.reason == "deadline" else now
