"""How much of the large matrices runs: a fixed sample in `make test`, everything in `make verify`."""

import os
from collections.abc import Sequence
from typing import TypeVar

FULL = os.environ.get("EVENT_SERVICE_TESTS") == "full"

Case = TypeVar("Case")


def sample(cases: Sequence[Case], share: int, offset: int = 0) -> list[Case]:
    """Every `share`-th case, starting at `offset` modulo `share`; all of them in a full run.

    With another offset for each row of a matrix, the sampled cells lie on diagonals: every row and, over `share` rows,
    every column has some.
    """
    return list(cases) if FULL else list(cases[offset % share :: share])


def examples(sampled: int, full: int) -> int:
    """The number of generated examples of a property."""
    return full if FULL else sampled
