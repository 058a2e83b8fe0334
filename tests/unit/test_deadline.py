import time

from event_service.deadline import Deadline


def test_what_remains_shrinks_to_zero() -> None:
    """It is never negative."""
    assert 9 < Deadline.after(10).remaining() <= 10
    assert Deadline.after(-1).remaining() == 0


def test_there_are_three_attempts_with_pauses_between() -> None:
    """The first does not wait."""
    started = time.monotonic()
    attempts = Deadline.after(60).attempts()
    assert next(attempts) == 0
    assert time.monotonic() - started < 0.05
    assert list(attempts) == [1, 2]


def test_nothing_is_tried_without_time_left() -> None:
    """Neither a first one after the deadline nor a further one whose pause would pass it."""
    assert list(Deadline.after(0).attempts()) == []
    attempts = Deadline.after(60).attempts()
    next(attempts)
    assert list(Deadline.after(-5).attempts()) == []
