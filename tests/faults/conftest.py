"""Adds the counts of the crash matrix to pytest's summary."""

from collections.abc import Callable

import pytest

from tests.conftest import FAULT_MATRIX

Count = Callable[[str, int, int, int], None]


@pytest.fixture
def count(record_property: Callable[[str, object], None]) -> Count:
    """Count a test: what followed the fault, positions, runs, and facts published again."""
    return lambda way, positions, runs, repeats: record_property(FAULT_MATRIX, (way, positions, runs, repeats))
