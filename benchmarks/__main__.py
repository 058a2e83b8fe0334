"""`make bench`: measures, prints tables, draws docs/throughput.svg; the exit status is 1 below a floor."""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from benchmarks import coldstart, rebuild
from benchmarks.chart import draw
from benchmarks.throughput import SIZES, Results, measure
from local.progress import step, table
from local.stack import stop_when_terminated

_CHART = Path(__file__).parents[1] / "docs" / "throughput.svg"
_FIGURES = Path(__file__).with_name("figures.json")  # what benchmarks/cost.py reckons with
# The least the service has to reach, by batch size: times the baseline's events a second (with delays), times less CPU
# time an event, and at most so much memory in MiB.
_FASTER = {10: 10, 100: 34, 1000: 40}
_LESS_CPU = {10: 7, 100: 14}
_PEAK_MIB = {10: 110, 1000: 160}


def main() -> int:
    """Run the benchmarks; return the exit status."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each figure; medians count (default: 3)")
    parser.add_argument("--quick", action="store_true", help="few batches: to see that it works, not for figures")
    arguments = parser.parse_args()
    stop_when_terminated()
    try:
        with tempfile.TemporaryDirectory(prefix="event-service-") as directory:
            starts = coldstart.measure(Path(directory), 1 if arguments.quick else coldstart.STARTS, step)
        with tempfile.TemporaryDirectory(prefix="event-service-") as directory:
            results = measure(Path(directory), arguments.rounds, quick=arguments.quick, progress=step)
        with tempfile.TemporaryDirectory(prefix="event-service-") as directory:
            batches = 5 if arguments.quick else rebuild.BATCHES
            rebuilt = rebuild.measure(Path(directory), arguments.rounds, batches, step)
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return 130
    for delayed in (True, False):
        _show(results, delayed=delayed)
    if not arguments.quick:
        draw(results, _CHART)
        _FIGURES.write_text(json.dumps(_figures(results), indent=2) + "\n")
    lines = [
        *_floors(results),
        ("rebuild, events/s", "", f"{rebuild.FASTER} x", f"{rebuilt:.1f} x", rebuilt >= rebuild.FASTER),
    ]
    missed = [line for line in lines if not line[-1]]
    table(
        "Floors",
        ("what", "batch", "floor", "measured", ""),
        [(*line[:-1], "met" if line[-1] else "MISSED") for line in lines],
    )
    return 1 if (missed or starts) and not arguments.quick else 0


def _show(results: Results, *, delayed: bool) -> None:
    rows = []
    for size in SIZES:
        service, baseline = results[delayed, size, "service"], results[delayed, size, "baseline"]
        for name, way in (("service", service), ("baseline", baseline)):
            rows.append(
                (
                    f"{size:,}",
                    name,
                    f"{way.median(way.events_per_second):,.0f}",
                    f"{way.percentile(0.5) * 1000:,.1f}",
                    f"{way.percentile(0.99) * 1000:,.1f}",
                    f"{way.median(way.cpu_milliseconds):.2f}",
                    f"{way.median(way.peak_mib):.0f}",
                    f"{_faster(results, size, delayed=delayed):.1f} x" if way is service else "",
                    f"{_less_cpu(results, size, delayed=delayed):.1f} x" if way is service else "",
                )
            )
    heads = ("batch", "", "events/s", "p50 ms", "p99 ms", "CPU ms/event", "peak MiB", "faster", "less CPU")
    table("With AWS-like delays on the wire" if delayed else "Without delays", heads, rows)


def _figures(results: Results) -> dict[str, dict[str, dict[str, float]]]:
    """Return the medians of a batch with delays, by way and batch size."""
    figures: dict[str, dict[str, dict[str, float]]] = {}
    for (delayed, size, name), way in results.items():
        if delayed:
            figures.setdefault(name, {})[str(size)] = {
                "seconds": round(size / way.median(way.events_per_second), 4),
                "cpu_seconds": round(size * way.median(way.cpu_milliseconds) / 1000, 5),
                "log_bytes": round(way.median(way.log_bytes)),
                "peak_mib": round(way.median(way.peak_mib)),
            }
    return figures


def _faster(results: Results, size: int, *, delayed: bool) -> float:
    service, baseline = results[delayed, size, "service"], results[delayed, size, "baseline"]
    return service.median(service.events_per_second) / baseline.median(baseline.events_per_second)


def _less_cpu(results: Results, size: int, *, delayed: bool) -> float:
    service, baseline = results[delayed, size, "service"], results[delayed, size, "baseline"]
    return baseline.median(baseline.cpu_milliseconds) / service.median(service.cpu_milliseconds)


def _floors(results: Results) -> list[tuple[str, str, str, str, bool]]:
    lines = []
    for size, floor in _FASTER.items():
        ratio = _faster(results, size, delayed=True)
        lines.append(("events/s, with delays", f"{size:,}", f"{floor} x", f"{ratio:.1f} x", ratio >= floor))
    for size, floor in _LESS_CPU.items():
        ratio = _less_cpu(results, size, delayed=True)
        lines.append(("less CPU an event", f"{size:,}", f"{floor} x", f"{ratio:.1f} x", ratio >= floor))
    for size, floor in _PEAK_MIB.items():
        service = results[True, size, "service"]
        peak = service.median(service.peak_mib)
        lines.append(("peak memory", f"{size:,}", f"{floor} MiB", f"{peak:.0f} MiB", peak <= floor))
    return lines


if __name__ == "__main__":
    sys.exit(main())
