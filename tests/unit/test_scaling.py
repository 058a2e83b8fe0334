import pytest

from benchmarks import scaling
from benchmarks.scaling import steady_state


def test_the_document_has_the_tables_of_the_current_figures() -> None:
    """After `make bench`, `python -m benchmarks.scaling --write` renews them."""
    assert scaling.main([]) == 0


@pytest.mark.parametrize(("rate", "batch"), [(1, 1), (1000, 100)])
def test_batches_fill_when_events_come_faster_than_the_window(rate: int, batch: int) -> None:
    """A lone event waits for the window; at a high rate a batch is full before it ends."""
    mean_batch, collected = steady_state(lambda _: 0.1, rate, 2, 100, 1.0)
    assert mean_batch == pytest.approx(batch, abs=1)
    assert collected <= 1
