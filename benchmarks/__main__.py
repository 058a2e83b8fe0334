"""`make bench`: measures, prints tables, draws docs/throughput.svg; the exit status is 1 below a floor."""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks import coldstart, rebuild, throughput
from benchmarks.chart import draw
from benchmarks.throughput import Floor
from local.progress import step, table
from local.stack import stop_when_terminated

_CHART = Path(__file__).parents[1] / "docs" / "throughput.svg"
_FIGURES = Path(__file__).with_name("figures.json")  # benchmarks/scaling.py reads them


def main() -> int:
    """Run the benchmarks; return the exit status."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each figure; medians count (default: 3)")
    parser.add_argument("--quick", action="store_true", help="few batches: to see that it works, not for figures")
    parser.add_argument("--only", choices=_PARTS, action="append", help="run this part only; may be repeated")
    arguments = parser.parse_args()
    stop_when_terminated()
    floors = []
    try:
        for name in arguments.only or _PARTS:
            with tempfile.TemporaryDirectory(prefix="event-service-") as directory:
                floors += _PARTS[name](Path(directory), arguments.rounds, arguments.quick)
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return 130
    rows = [(floor.what, floor.limit, floor.measured, "met" if floor.met else "MISSED") for floor in floors]
    table("Floors", ("what", "floor", "measured", ""), rows)
    return 0 if arguments.quick or all(floor.met for floor in floors) else 1


def _coldstart(directory: Path, _rounds: int, quick: bool) -> list[Floor]:  # noqa: FBT001
    return coldstart.measure(directory, 1 if quick else coldstart.STARTS, step)


def _throughput(directory: Path, rounds: int, quick: bool) -> list[Floor]:  # noqa: FBT001
    results = throughput.measure(directory, rounds, quick=quick, progress=step)
    throughput.show(results)
    if not quick:
        draw(results, _CHART)
        _FIGURES.write_text(json.dumps(throughput.figures(results), indent=2) + "\n")
    return throughput.floors(results)


def _rebuild(directory: Path, rounds: int, quick: bool) -> list[Floor]:  # noqa: FBT001
    return rebuild.measure(directory, rounds, 5 if quick else rebuild.BATCHES, step)


_PARTS: dict[str, Callable[[Path, int, bool], list[Floor]]] = {
    "coldstart": _coldstart,
    "throughput": _throughput,
    "rebuild": _rebuild,
}


if __name__ == "__main__":
    sys.exit(main())
