import pytest

from benchmarks import cost
from benchmarks.queueing import Mapping, simulate


def test_the_document_has_the_tables_that_the_command_prints() -> None:
    """Change the figures or the prices, and `python -m benchmarks.cost --write` puts it right."""
    assert cost.main(["--check"]) == 0


@pytest.mark.parametrize(("rate", "batch"), [(1, 1), (1000, 100)])
def test_batches_fill_when_events_come_faster_than_the_window(rate: int, batch: int) -> None:
    """A lone event waits for the window; at a high rate a batch is full before it ends."""
    simulated = simulate(rate, Mapping(2, 100, 1.0, lambda _: 0.1), 60)
    assert round(simulated.batch) == pytest.approx(batch, abs=1)
    assert simulated.p50 <= 1.1 + 0.1
