"""What the fault matrix counted, as a part of pytest's summary."""

from collections import defaultdict
from collections.abc import Callable

import pytest

PROPERTY = "fault matrix"

Count = Callable[[str, int, int, int], None]


@pytest.fixture
def count(record_property: Callable[[str, object], None]) -> Count:
    """Count a test: its way to go on, positions, runs, and facts published again."""
    return lambda way, positions, runs, repeats: record_property(PROPERTY, (way, positions, runs, repeats))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what was tried and how often facts were published again."""
    counted: dict[str, list[tuple[int, int, int]]] = defaultdict(list)
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties:
            if name == PROPERTY:
                counted[value[0]].append(value[1:])
    for way, tests in counted.items():
        positions, runs, repeats = zip(*tests, strict=True)
        terminalreporter.write_line(
            f"fault matrix, {way}: {max(positions)} positions x {len(tests)} modes,"
            f" {sum(runs)} runs, {sum(repeats)} facts published again, 0 lost"
        )
