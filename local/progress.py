"""What a person sees of a long-running command: its steps with the time, and tables."""

import time
from collections.abc import Sequence

_started = time.monotonic()


def step(text: str) -> None:
    """Tell what begins now, and how many seconds it took to get here."""
    print(f"[{time.monotonic() - _started:5.1f} s] {text}", flush=True)


def table(title: str, heads: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows in columns as wide as they need to be."""
    cells = [list(heads), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(heads))]
    print(f"\n{title}")
    for number, row in enumerate(cells):
        print("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        if number == 0:
            print("  " + "  ".join("-" * width for width in widths))
    if not rows:
        print("  (nothing)")
