"""The service and the baseline: events per second, latency, CPU time and memory, each in a fresh process."""

import contextlib
import json
import statistics
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import psycopg

from event_service.config import DatabaseSettings
from event_service.migrate.schema import migrate
from local.progress import table
from local.stack import Stack, create_database, running_postgres

Way = Literal["service", "baseline"]

_HANDLERS: dict[Way, str] = {"service": "event_service.handler", "baseline": "benchmarks.baseline.handler"}
# Seconds a request takes within a region; see docs/scaling.md.
AWS_LIKE = {"dynamodb": 0.004, "postgresql": 0.0015, "sns": 0.012}
NO_DELAYS = dict.fromkeys(AWS_LIKE, 0.0)
SIZES = (1, 10, 100, 1000)
# Batches of each size in one measurement: enough for steady figures in a few minutes.
_BATCHES: dict[Way, dict[int, int]] = {
    "service": {1: 100, 10: 60, 100: 20, 1000: 5},
    "baseline": {1: 100, 10: 20, 100: 3, 1000: 1},
}
_QUICK = {1: 20, 10: 10, 100: 2, 1000: 1}
# What the service has to reach with delays, by batch size: at least this many times the baseline's events a second and
# this many times less CPU time an event, and at most this much memory in MiB.
_FASTER = {10: 12, 100: 50, 1000: 65}
_LESS_CPU = {10: 11, 100: 18}
_PEAK_MIB = {10: 110, 1000: 160}


class Floor(NamedTuple):
    """A limit that a benchmark asserts, with what it measured."""

    what: str
    limit: str
    measured: str
    met: bool


class Measured:
    """What one way did at one batch size, over all rounds."""

    def __init__(self) -> None:
        self.rounds: list[dict[str, float]] = []
        self.batch_seconds: list[float] = []

    def add(self, size: int, result: Any) -> None:
        """Add a worker's measurement."""
        batches = len(result["seconds"])
        self.rounds.append(
            {
                "events_per_second": size * batches / sum(result["seconds"]),
                "cpu_milliseconds": result["cpu_seconds"] / (size * batches) * 1000,  # of an event
                "peak_mib": result["peak_mib"],
                "log_bytes": result["log_bytes"] / batches,
            }
        )
        self.batch_seconds += result["seconds"]

    def __getitem__(self, figure: str) -> float:
        """Return the median of a figure over the rounds."""
        return statistics.median(measured[figure] for measured in self.rounds)

    def percentile(self, share: float) -> float:
        """Return the seconds within which this share of the batches was answered."""
        ordered = sorted(self.batch_seconds)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


Results = dict[tuple[bool, int, Way], Measured]  # by whether there were delays, batch size and way


def measure(directory: Path, rounds: int, *, quick: bool, progress: Callable[[str], None]) -> Results:
    """Measure both ways at every batch size, in turn, with delays on the wire and without."""
    results: Results = {}
    with running_postgres(directory / "postgres") as postgres:
        stack = Stack(postgres.url, "")
        migrate(DatabaseSettings(url=create_database(stack, "migrated")))
        for delayed in (True, False):
            with running_endpoint(AWS_LIKE if delayed else NO_DELAYS, postgres.url) as ports:
                for number in range(rounds):
                    progress(f"round {number + 1} of {rounds}, {'AWS-like delays' if delayed else 'no delays'}")
                    for size in SIZES:
                        ways: tuple[Way, Way] = ("service", "baseline")
                        batches = {way: (_QUICK if quick else _BATCHES[way])[size] for way in ways}
                        for way in ways if number % 2 else ways[::-1]:
                            result = _run(stack, ports, way, size, batches[way])
                            results.setdefault((delayed, size, way), Measured()).add(size, result)
    return results


@contextlib.contextmanager
def running_endpoint(delays: dict[str, float], database_url: str) -> Iterator[tuple[int, int]]:
    """Run the endpoint in a separate process; yield its ports, of AWS and of PostgreSQL."""
    port = database_url.rpartition("/")[0].rpartition(":")[2]
    command = [sys.executable, "-m", "benchmarks.endpoint", json.dumps(delays), port]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            assert process.stdout is not None
            aws, postgresql = map(int, process.stdout.readline().split())
            yield aws, postgresql
        finally:
            process.terminate()


def _run(stack: Stack, ports: tuple[int, int], way: Way, size: int, batches: int) -> Any:
    """Run a worker on fresh backends and check what it left there."""
    database_url = create_database(stack, "bench", "migrated")
    environment = environment_of(stack, ports, "bench") | {"PYTHONPATH": ":".join(sys.path)}
    command = [sys.executable, "-m", "benchmarks.worker", _HANDLERS[way], str(size), str(batches)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    result = json.loads(done.stdout)
    _check(result["events"], ports[0], database_url)
    return result


def environment_of(stack: Stack, ports: tuple[int, int], database: str) -> dict[str, str]:
    """Return the environment in which both ways find the endpoint."""
    return stack.environment() | {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{ports[0]}",
        "DATABASE_URL": f"postgresql://postgres@127.0.0.1:{ports[1]}/{database}",
        "EVENT_STORE_TABLE": "event-store",
        "NOTIFICATION_TOPIC_ARN": "arn:aws:sns:us-east-1:000000000000:notifications",
        "POWERTOOLS_LOG_LEVEL": "INFO",
        "PYTHONWARNINGS": "ignore::UserWarning",  # Powertools warns about a batch without new metrics
    }


def _check(events: int, port: int, database_url: str) -> None:
    """Check that every event, fact and row is stored and every fact was published once."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}/", b"{}", {"X-Amz-Target": "Bench.Dump"})
    with urllib.request.urlopen(request) as answer:
        dump = json.load(answer)
    items = dump["tables"]["event-store"]
    facts = {item["id"]["S"] for item in items if item["pk"]["S"].startswith("notification#")}
    published = [json.loads(message)["id"] for message in dump["messages"]]
    with psycopg.connect(database_url) as connection:
        rows = connection.execute("SELECT count(*) FROM notifications").fetchone()
        waiting = connection.execute("SELECT count(*) FROM outbox").fetchone()
    found = (len(items) - len(facts), len(facts), len(published), set(published) == facts, rows, waiting)
    expected = (events, events, events, True, (events,), (0,))
    if found != expected:
        raise RuntimeError(f"the job was not done: found {found}, expected {expected}")


def show(results: Results) -> None:
    """Print both ways side by side, with delays and without."""
    heads = ("batch", "", "events/s", "p50 ms", "p99 ms", "CPU ms/event", "peak MiB", "faster", "less CPU")
    for delayed in (True, False):
        rows = []
        for size in SIZES:
            for way in _HANDLERS:
                measured = results[delayed, size, way]
                faster, less_cpu = _ratios(results, size, delayed=delayed)
                cells = (
                    f"{measured['events_per_second']:,.0f}",
                    f"{measured.percentile(0.5) * 1000:,.1f}",
                    f"{measured.percentile(0.99) * 1000:,.1f}",
                    f"{measured['cpu_milliseconds']:.2f}",
                    f"{measured['peak_mib']:.0f}",
                )
                ratios = (f"{faster:.1f} x", f"{less_cpu:.1f} x") if way == "service" else ("", "")
                rows.append((f"{size:,}", way, *cells, *ratios))
        table("With AWS-like delays on the wire" if delayed else "Without delays", heads, rows)


def _ratios(results: Results, size: int, *, delayed: bool) -> tuple[float, float]:
    service, baseline = results[delayed, size, "service"], results[delayed, size, "baseline"]
    faster = service["events_per_second"] / baseline["events_per_second"]
    return faster, baseline["cpu_milliseconds"] / service["cpu_milliseconds"]


def floors(results: Results) -> list[Floor]:
    """Return the floors of one run: ratios to the baseline of the same run, and memory."""
    lines = []
    for size in SIZES:
        faster, less_cpu = _ratios(results, size, delayed=True)
        peak = results[True, size, "service"]["peak_mib"]
        if floor := _FASTER.get(size):
            lines.append(Floor(f"events/s, batch of {size:,}", f"{floor} x", f"{faster:.1f} x", faster >= floor))
        if floor := _LESS_CPU.get(size):
            lines.append(Floor(f"less CPU, batch of {size:,}", f"{floor} x", f"{less_cpu:.1f} x", less_cpu >= floor))
        if limit := _PEAK_MIB.get(size):
            lines.append(Floor(f"memory, batch of {size:,}", f"at most {limit} MiB", f"{peak:.0f} MiB", peak <= limit))
    return lines


def figures(results: Results) -> dict[str, dict[str, dict[str, float]]]:
    """Return the medians of a batch with delays, by way and batch size."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for (delayed, size, name), way in results.items():
        if delayed:
            found.setdefault(name, {})[str(size)] = {
                "seconds": round(size / way["events_per_second"], 4),
                "cpu_seconds": round(size * way["cpu_milliseconds"] / 1000, 5),
                "log_bytes": round(way["log_bytes"]),
            }
    return found
