"""`python -m benchmarks.cost`: what a million events cost, which quota binds first, what the rate does to latency.

Durations and log volumes are the medians that `make bench` wrote to figures.json; prices and quotas stand in
prices.toml with their sources. The tables are Markdown: docs/scaling.md has them as they are printed;
`--write` puts them there and `--check` fails unless they are.
"""

import argparse
import json
import math
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.queueing import Mapping, simulate

_HERE = Path(__file__).parent
_DOCUMENT = _HERE.parent / "docs" / "scaling.md"
_MILLION = 1_000_000
_SIZES = (1, 10, 100, 1000)
_RATES = (100, 1_000, 10_000, 100_000)
_MONTH_SECONDS = 730 * 3600
_MEMORY_MB = 512  # of the template; so much of one processor comes with it:
_PROCESSOR_SHARE = _MEMORY_MB / 1769  # https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html
_TIMEOUT_SECONDS = 30  # of the template
_PLATFORM_LOG_BYTES = 350  # START, END and REPORT lines of an invocation, about
_RDS_RATE = 100  # events a second over which the database is shared out in the first table
_RDS_GB = 20
_METRICS = 8  # EventsReceived and its like, and two reasons of EventsRejected
# Bytes kept of a reminder event: its item, in the table and in the index, and its fact's; 100 more each for DynamoDB.
_STORED_BYTES = 2 * (509 + 100) + 920 + 100
# Measured once with the embedded PostgreSQL 18: an event's write-ahead log and, in Way, its server's processor time.
_WAL_BYTES = 2_000


@dataclass(frozen=True)
class Way:
    """A way of working: write units, published requests and commits of a batch, and its figures by batch size."""

    name: str
    write_units: int  # of an event with its fact: event, index and fact; and the idempotency record, written twice
    published_together: int
    commits: int  # of a batch, or of each event where that is one by one
    one_by_one: bool
    database_cpu: float  # seconds an event
    figures: dict[int, dict[str, float]]

    def duration(self, size: int) -> float:
        """Return the seconds a batch takes in Lambda: the waits as measured, the processor time by Lambda's share.

        Between the measured sizes it is interpolated.
        """
        points = [(n, self._duration(figures)) for n, figures in sorted(self.figures.items())]
        for (n, low), (m, high) in pairwise(points):
            if size <= m:
                return low + (high - low) * (size - n) / (m - n)
        return points[-1][1] * size / points[-1][0]

    def _duration(self, figures: dict[str, float]) -> float:
        processor = figures["cpu_seconds"]
        return max(figures["seconds"] - processor, 0) + processor / _PROCESSOR_SHARE


def main(arguments_given: Sequence[str] | None = None) -> int:
    """Print the tables; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cost", description=__doc__)
    parser.add_argument("--prices", type=Path, default=_HERE / "prices.toml", help="another file like prices.toml")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--write", action="store_true", help=f"put the tables into {_DOCUMENT.name}")
    what.add_argument("--check", action="store_true", help=f"fail unless {_DOCUMENT.name} has these tables")
    arguments = parser.parse_args(arguments_given)
    figures = _HERE / "figures.json"
    if not figures.exists():
        print(f"{figures.name} is missing: `make bench` writes it", file=sys.stderr)
        return 1
    sections = tables(json.loads(figures.read_text()), tomllib.loads(arguments.prices.read_text()))
    if not (arguments.write or arguments.check):
        print("\n".join(sections.values()))
        return 0
    before = _DOCUMENT.read_text()
    after = with_tables(before, sections)
    if arguments.write:
        _DOCUMENT.write_text(after)
    elif after != before:
        print(f"{_DOCUMENT.name} has other tables: python -m benchmarks.cost --write", file=sys.stderr)
        return 1
    return 0


def tables(figures: Any, data: Any) -> dict[str, str]:
    """Return the tables in Markdown, by the section of the document that has them."""
    prices = {name: entry["value"] for name, entry in data["prices"].items()}
    quotas = {name: entry["value"] for name, entry in data["quotas"].items()}
    ways = read_ways(figures)
    return {
        "cost": _costs(ways, prices, data["region"]) + _fixed(prices),
        "quotas": _quotas(ways, quotas),
        "latency": _latency(ways["service"]),
    }


def with_tables(document: str, sections: dict[str, str]) -> str:
    """Return the document with these tables between the marks of each section."""
    for name, text in sections.items():
        end = f"<!-- end of {name} -->"
        before, begin, rest = document.partition(f"<!-- {name} -->\n")
        document = before + begin + text + "\n" + end + rest.partition(end)[2]
    return document


def read_ways(figures: Any) -> dict[str, Way]:
    """Return both ways with the figures of `make bench`."""
    by_size = {name: {int(size): values for size, values in sizes.items()} for name, sizes in figures.items()}
    return {
        "service": Way("service", 3, 10, 2, one_by_one=False, database_cpu=0.00017, figures=by_size["service"]),
        "baseline": Way("baseline", 5, 1, 1, one_by_one=True, database_cpu=0.00052, figures=by_size["baseline"]),
    }


def costs(way: Way, size: int, prices: dict[str, float]) -> dict[str, float]:
    """Return the dollars of a million events in batches of a size, by component."""
    batches = _MILLION / size
    gb_seconds = batches * way.duration(size) * _MEMORY_MB / 1024
    logged = batches * (way.figures[size]["log_bytes"] + _PLATFORM_LOG_BYTES) / 1e9
    database = _month_of_database(prices) / (_RDS_RATE * _MONTH_SECONDS) * _MILLION
    return {
        "Lambda": batches * prices["lambda_request"] + gb_seconds * prices["lambda_gb_second"],
        # Each message is sent by SNS; received and deleted ten at a time, at most.
        "SQS": _MILLION * (1 + 2 / min(size, 10)) * prices["sqs_request"],
        "SNS": batches * math.ceil(size / way.published_together) * prices["sns_request"],
        "DynamoDB": _MILLION * way.write_units * prices["dynamodb_write_unit"],
        "logs": logged * prices["logs_gb"],
        f"RDS at {_RDS_RATE}/s": database,
    }


def demands(way: Way, size: int, rate: float) -> dict[str, float]:
    """Return what a rate of events asks of each quota, by the quota's name in prices.toml."""
    concurrency = rate / size * way.duration(size)
    return {
        "maximum_concurrency": concurrency,
        "lambda_concurrency": concurrency,
        "mapping_concurrency": concurrency,
        "dynamodb_new_table_writes": rate * 2,
        "dynamodb_table_writes": rate * 2,
        "sns_messages": rate,
        "sqs_in_flight": rate * (1 + way.duration(size)),  # while a batch fills, a second at most, and is handled
        "rds_connections": concurrency,
        "rds_processors": rate * way.database_cpu,
        "rds_iops": rate * way.commits / (1 if way.one_by_one else size),
    }


def _month_of_database(prices: dict[str, float]) -> float:
    return prices["rds_hour"] * 730 + prices["rds_gb_month"] * _RDS_GB


def _costs(ways: dict[str, Way], prices: dict[str, float], region: str) -> str:
    rows = []
    for size in _SIZES:
        for way in ways.values():
            parts = costs(way, size, prices)
            late = "" if way.duration(size) < _TIMEOUT_SECONDS else f" (takes {way.duration(size):,.0f} s: too long)"
            total = sum(parts.values())
            rows.append((f"{size:,}", way.name + late, *(f"{part:.2f}" for part in parts.values()), f"{total:.2f}"))
    heads = ("batch", "", *costs(ways["service"], 1, prices), "in all")
    return _markdown(f"Dollars of a million events, {region}", heads, rows)


def _fixed(prices: dict[str, float]) -> str:
    month = _month_of_database(prices)
    rows = [("database", f"{month:.2f} a month")]
    rows += [
        (f"database at {rate:,} events/s", f"{month / (rate * _MONTH_SECONDS) * _MILLION:.3f} a million")
        for rate in (1, 10, 100, 1000)
    ]
    rows.append(("metrics", f"{_METRICS * prices['metric_month']:.2f} a month"))
    kept = _STORED_BYTES * _MILLION / 1e9 * prices["dynamodb_gb_month"]
    rows.append(("event store, for as long as it is kept", f"{kept:.2f} a million and month"))
    return _markdown("What does not depend on the way of working, dollars", ("", ""), rows)


def _quotas(ways: dict[str, Way], quotas: dict[str, float]) -> str:
    text = ""
    for way, size in ((ways["service"], 100), (ways["baseline"], 10)):
        one = demands(way, size, 1)  # every demand grows with the rate, in proportion
        rows = []
        for name in sorted(one, key=lambda name: quotas[name] / one[name]):
            asked = [one[name] * rate for rate in _RATES]
            cells = [f"**{value:,.0f}**" if value > quotas[name] else f"{value:,.0f}" for value in asked]
            rows.append((name, f"{quotas[name]:,.0f}", f"{quotas[name] / one[name]:,.0f}", *cells))
        heads = ("quota", "is", "binds at events/s", *(f"{rate:,}/s" for rate in _RATES))
        text += _markdown(
            f"What a rate asks for, bold above the quota: the {way.name} in batches of {size}", heads, rows
        )
    rows = []
    for rate in _RATES:
        hot = quotas["dynamodb_partition_writes"] / rate
        rows.append((f"{rate:,}", "all" if hot >= 1 else f"{hot:.0%}", f"{rate * _WAL_BYTES / 1e6:.1f}"))
    heads = ("events/s", "one item or user may have at most, of the events", "the database's log, MB/s")
    return text + _markdown("Hot items, and what the database writes", heads, rows)


def _latency(way: Way) -> str:
    rows = []
    for rate in _RATES:
        scale = max(1, rate // 10_000)  # processes share the messages at random: a tenth of all does as all
        for size, window in ((10, 0.0), (100, 1.0), (1000, 1.0)):
            enough = max(5, math.ceil(1.25 * rate / size * way.duration(size) / scale) * scale)
            mapping = Mapping(max(2, enough // scale), size, window, way.duration)
            result = simulate(rate / scale, mapping, seconds=15 if rate > 1000 else 60)
            figures = (f"{result.batch:,.0f}", f"{result.p50:.2f}", f"{result.p99:.2f}", f"{result.busy:.0%}")
            rows.append((f"{rate:,}", f"{size:,}", f"{window:g}", f"{enough:,}", *figures))
    heads = ("events/s", "batch size", "window s", "processes", "mean batch", "p50 s", "p99 s", "busy")
    return _markdown(
        f"The {way.name} behind its queue, simulated, with a quarter more processes than needed", heads, rows
    )


def _markdown(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ("| " + " | ".join(row) + " |\n" for row in (heads, ["---"] * len(heads), *rows))
    return f"\n{title}:\n\n{''.join(lines)}"


if __name__ == "__main__":
    sys.exit(main())
