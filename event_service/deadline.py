"""How much of an invocation is left."""

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_ATTEMPTS: Final = 3
_FIRST_PAUSE_SECONDS: Final = 0.05


@dataclass(frozen=True, slots=True)
class Deadline:
    """The moment, on the monotonic clock, by which the work of an invocation has to be over."""

    at: float

    @classmethod
    def after(cls, seconds: float) -> "Deadline":
        """Return the deadline so many seconds from now."""
        return cls(time.monotonic() + seconds)

    def remaining(self) -> float:
        """Return the seconds left, 0 when it has passed."""
        return max(0.0, self.at - time.monotonic())

    def within(self, seconds: float) -> "Deadline":
        """Return the moment so many seconds from now, or this one where it comes sooner."""
        return Deadline(min(self.at, time.monotonic() + seconds))

    def attempts(self) -> Iterator[int]:
        """Yield 0, 1, 2: pauses between them, longer each time and with full jitter, as long as there is time.

        https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
        """
        for attempt in range(_ATTEMPTS):
            if attempt:
                pause = random.uniform(0, _FIRST_PAUSE_SECONDS * 4**attempt)  # noqa: S311  # no secret
                if pause >= self.remaining():
                    return
                time.sleep(pause)
            if not self.remaining():
                return
            yield attempt
