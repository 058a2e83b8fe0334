"""`python -m benchmarks.scaling`: what a million events are billed for, the limits a rate meets, and latency.

Computed from the medians that `make bench` wrote to figures.json. Fails unless docs/scaling.md has these tables;
`--write` puts them there.
"""

import json
import math
import sys
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

_FIGURES = Path(__file__).with_name("figures.json")
_DOCUMENT = Path(__file__).parents[1] / "docs" / "scaling.md"
_MILLION = 1_000_000
_RATES = (100, 1_000, 10_000, 100_000)
_MEMORY_MB = 512  # in the template, which brings this share of a processor:
_PROCESSOR_SHARE = _MEMORY_MB / 1769  # https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html
_PLATFORM_LOG_BYTES = 350  # of an invocation's START, END and REPORT lines, about
# Defaults in us-east-1; docs/scaling.md has their sources and what lifts them. The database is a db.t4g.medium.
_QUOTAS = {
    "maximum_concurrency": 10,  # the template's MaximumConcurrency
    "lambda_concurrency": 1_000,
    "mapping_concurrency": 1_250,
    "dynamodb_new_table_writes": 4_000,
    "dynamodb_table_writes": 40_000,
    "sns_messages": 30_000,
    "sqs_in_flight": 120_000,
    "rds_connections": 450,
    "rds_processors": 2,
    "rds_iops": 3_000,
}


class Way(NamedTuple):
    """A way of working: its requests and their resources, and the figures of a batch by batch size."""

    name: str
    write_units: int  # an event: itself, its index entry and its fact; the baseline's idempotency record, written twice
    published_together: int
    figures: dict[int, dict[str, float]]

    def duration(self, size: float) -> float:
        """Return the seconds a batch takes in Lambda, interpolated between the measured sizes."""
        points = [(n, _in_lambda(figures)) for n, figures in sorted(self.figures.items())]
        for (n, low), (m, high) in pairwise(points):
            if size <= m:
                return low + (high - low) * (size - n) / (m - n)
        return points[-1][1] * size / points[-1][0]


def _in_lambda(figures: dict[str, float]) -> float:
    """Return a batch's seconds in Lambda: it waits as long as measured, and computes with a share of a processor."""
    processor = figures["cpu_seconds"]
    return max(figures["seconds"] - processor, 0) + processor / _PROCESSOR_SHARE


def main(arguments: Sequence[str]) -> int:
    """Write or check the tables; return the exit status."""
    measured = json.loads(_FIGURES.read_text())
    by_size = {name: {int(size): values for size, values in sizes.items()} for name, sizes in measured.items()}
    service = Way("service", 3, 10, by_size["service"])
    baseline = Way("baseline", 5, 1, by_size["baseline"])
    sections = {"units": _units(service, baseline), "quotas": _quotas(service), "latency": _latency(service)}
    document = _DOCUMENT.read_text()
    written = document
    for name, text in sections.items():
        head, begin, rest = written.partition(f"<!-- {name} -->\n")
        end = f"<!-- end of {name} -->"
        written = head + begin + text + end + rest.partition(end)[2]
    if "--write" in arguments:
        _DOCUMENT.write_text(written)
    elif written != document:
        print(f"{_DOCUMENT.name} has other tables: run python -m benchmarks.scaling --write", file=sys.stderr)
        return 1
    return 0


def _units(*ways: Way) -> str:
    rows = []
    for size in sorted(ways[0].figures):
        for way in ways:
            batches = _MILLION / size
            logged = batches * (way.figures[size]["log_bytes"] + _PLATFORM_LOG_BYTES) / 1e9
            cells = (
                batches / 1e6,
                batches * way.duration(size) * _MEMORY_MB / 1024,
                1 + 2 / min(size, 10),  # SNS sends each message; Lambda receives and deletes up to 10 at once
                batches * math.ceil(size / way.published_together) / 1e6,
                way.write_units,
                logged,
            )
            rows.append((f"{size:,}", way.name, *(f"{cell:,.3g}" if cell < 100 else f"{cell:,.0f}" for cell in cells)))
    heads = ("Lambda requests, M", "Lambda GB-seconds", "SQS requests, M", "SNS requests, M", "DynamoDB writes, M")
    return _markdown(("batch", "", *heads, "logs, GB"), rows)


def _quotas(way: Way, size: int = 100) -> str:
    """Return what a rate asks of each quota, in the order in which a growing rate meets them."""
    concurrency = way.duration(size) / size
    demands = {  # of one event a second
        **dict.fromkeys(("maximum_concurrency", "lambda_concurrency", "mapping_concurrency"), concurrency),
        "dynamodb_new_table_writes": 2,
        "dynamodb_table_writes": 2,
        "sns_messages": 1,
        "sqs_in_flight": 1 + way.duration(size),  # a second at most while the batch fills, then its duration
        "rds_connections": concurrency,
        "rds_processors": 0.00017,  # seconds an event, measured once with PostgreSQL 18
        "rds_iops": 2 / size,  # the service commits twice a batch
    }
    rows = []
    for name, demand in sorted(demands.items(), key=lambda item: _QUOTAS[item[0]] / item[1]):
        quota = _QUOTAS[name]
        cells = (f"**{demand * rate:,.0f}**" if demand * rate > quota else f"{demand * rate:,.0f}" for rate in _RATES)
        rows.append((name, f"{quota:,}", f"{quota / demand:,.0f}", *cells))
    return _markdown(("quota", "is", "binds at events/s", *(f"{rate:,}/s" for rate in _RATES)), rows)


def _latency(way: Way) -> str:
    rows = []
    for rate in _RATES:
        for size, window in ((10, 0), (100, 1), (1000, 1)):
            processes = max(5, math.ceil(1.25 * rate / size * way.duration(size)))
            batch, collecting = steady_state(way.duration, rate, processes, size, window)
            took = way.duration(batch)
            seconds = (f"{collecting / 2 + took:.2f}", f"{collecting + took:.2f}")
            busy = f"{rate / batch * took / processes:.0%}"
            rows.append((f"{rate:,}", f"{size:,}", f"{window}", f"{processes:,}", f"{batch:,.0f}", *seconds, busy))
    heads = ("events/s", "batch size", "window s", "processes", "mean batch", "typical s", "longest s", "busy")
    return _markdown(heads, rows)


def steady_state(
    duration: Callable[[float], float], rate: float, processes: int, size: int, window: float
) -> tuple[float, float]:
    """Return the mean batch of an event source mapping, and the seconds it is collected for.

    Each process collects until its batch is full or the window ends, invokes the function and waits for the answer;
    events go to the processes that collect. Larger batches keep fewer processes busy: more collect, and each
    gets less: the batch is where both agree.
    https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html
    """
    low, high = 1.0, float(size)
    while high - low > 0.01:
        batch = (low + high) / 2
        free = processes - rate / batch * duration(batch)
        if free <= 0 or 1 + rate / free * window > batch:
            low = batch
        else:
            high = batch
    free = max(processes - rate / high * duration(high), 0.0)
    return high, min(window, (high - 1) * free / rate)


def _markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ("| " + " | ".join(row) + " |\n" for row in (heads, ["---"] * len(heads), *rows))
    return f"\n{''.join(lines)}\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
