import random
import time
from itertools import islice

import pytest

from event_service.deadline import Deadline


def test_what_remains_shrinks_to_zero() -> None:
    """It is never negative."""
    assert 9 < Deadline.after(10).remaining() <= 10
    assert Deadline.after(-1).remaining() == 0


def test_there_are_attempts_until_the_deadline() -> None:
    """The first one is at once; the pauses before the others grow and stay below half a second."""
    deadline = Deadline.after(2)
    assert [*deadline.attempts()][:5] == [0, 1, 2, 3, 4]
    assert deadline.remaining() == 0


def test_there_is_no_attempt_without_time() -> None:
    """Not even a first one."""
    assert list(Deadline.after(0).attempts()) == []
    assert list(Deadline.after(-5).attempts()) == []


def test_pauses_double_up_to_a_limit_and_end_by_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """These are the longest; the jitter makes them shorter."""
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    monkeypatch.setattr(random, "uniform", lambda _, longest: longest)
    assert [*islice(Deadline.never().attempts(), 6)] == [0, 1, 2, 3, 4, 5]
    assert pauses == pytest.approx([0.1, 0.2, 0.4, 0.4, 0.4])
    pauses.clear()
    assert [*islice(Deadline.after(0.05).attempts(), 2)] == [0, 1]
    assert pauses[0] <= 0.05


def test_a_part_of_the_time_ends_no_later_than_all_of_it() -> None:
    """Whichever is sooner."""
    assert Deadline.after(10).within(1).remaining() <= 1
    assert Deadline.after(1).within(10).remaining() <= 1
