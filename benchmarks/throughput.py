"""The service beside the baseline: events a second, latency, CPU time and memory, each in a fresh process."""

import contextlib
import json
import statistics
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import psycopg

from event_service.config import DatabaseSettings
from event_service.migrate.schema import migrate
from local.stack import Stack, create_database, running_postgres

Way = Literal["service", "baseline"]

_HANDLERS: dict[Way, str] = {"service": "event_service.handler", "baseline": "benchmarks.baseline.handler"}
# What a request costs within a region, in seconds; see docs/scaling.md.
AWS_LIKE = {"dynamodb": 0.004, "postgresql": 0.0015, "sns": 0.012}
NO_DELAYS = dict.fromkeys(AWS_LIKE, 0.0)
SIZES = (1, 10, 100, 1000)
# Batches of each size in one measurement: enough for steady figures, few enough for minutes.
_BATCHES: dict[Way, dict[int, int]] = {
    "service": {1: 100, 10: 60, 100: 20, 1000: 5},
    "baseline": {1: 100, 10: 20, 100: 3, 1000: 1},
}
_QUICK = {1: 20, 10: 10, 100: 2, 1000: 1}


@dataclass
class Measured:
    """What one way of working did at one batch size, over all rounds."""

    events_per_second: list[float] = field(default_factory=list)
    cpu_milliseconds: list[float] = field(default_factory=list)
    peak_mib: list[float] = field(default_factory=list)
    batch_seconds: list[float] = field(default_factory=list)
    log_bytes: list[float] = field(default_factory=list)  # of a batch

    def add(self, size: int, result: Any) -> None:
        """Add a measurement of a worker."""
        events = size * len(result["seconds"])
        self.events_per_second.append(events / sum(result["seconds"]))
        self.cpu_milliseconds.append(result["cpu_seconds"] / events * 1000)
        self.peak_mib.append(result["peak_mib"])
        self.batch_seconds += result["seconds"]
        self.log_bytes.append(result["log_bytes"] / len(result["seconds"]))

    def percentile(self, share: float) -> float:
        """Return the seconds within which that share of the batches was answered."""
        ordered = sorted(self.batch_seconds)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    def median(self, figures: list[float]) -> float:
        """Return the median over the rounds."""
        return statistics.median(figures)


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
    """Run the endpoint in a process of its own; give its ports, of AWS and of PostgreSQL."""
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
    """Run a worker on fresh backends and check that it did the whole job."""
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
        "PYTHONWARNINGS": "ignore::UserWarning",  # Powertools warns where a batch had its last metrics written already
    }


def _check(events: int, port: int, database_url: str) -> None:
    """Check that every event and fact is stored, every row is there and every fact was published once."""
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
        raise RuntimeError(f"the job was not done: {found} instead of {expected}")
