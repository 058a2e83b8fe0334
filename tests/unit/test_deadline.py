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
