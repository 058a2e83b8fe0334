"""How much time an invocation has left, and when to try again within it."""

import math
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_FIRST_PAUSE_SECONDS: Final = 0.05
_LONGEST_PAUSE_SECONDS: Final = 0.4


@dataclass(frozen=True, slots=True)
class Deadline:
    """The moment, on the monotonic clock, by which the work must be done."""

    at: float

    @classmethod
    def after(cls, seconds: float) -> "Deadline":
        """Return the deadline `seconds` from now."""
        return cls(time.monotonic() + seconds)

    @classmethod
    def never(cls) -> "Deadline":
        """Return the deadline of work that may take as long as it needs."""
        return cls(math.inf)

    def remaining(self) -> float:
        """Return the seconds left; 0 once it has passed."""
        return max(0.0, self.at - time.monotonic())

    def within(self, seconds: float) -> "Deadline":
        """Return the deadline `seconds` from now, or this one if it is sooner."""
        return Deadline(min(self.at, time.monotonic() + seconds))

    def attempts(self) -> Iterator[int]:
        """Yield 0, 1, 2, … with pauses between them, longer each time and with full jitter, until the deadline.

        https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
        """
        attempt = 0
        while self.remaining():
            yield attempt
            attempt += 1
            longest = min(_FIRST_PAUSE_SECONDS * 2**attempt, _LONGEST_PAUSE_SECONDS)
            pause = random.uniform(0, longest)  # noqa: S311  # not a secret
            time.sleep(min(pause, self.remaining()))
