"""Rebuilding the notifications beside replaying the same events through the function.

Both with the delays of `benchmarks.throughput` on the wire, and the rows of the two have to be the same, to the byte.
"""

import contextlib
import io
import os
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg

from benchmarks.throughput import AWS_LIKE, environment_of, running_endpoint
from benchmarks.worker import batch_of
from event_service.config import DatabaseSettings
from event_service.handler import lambda_handler
from event_service.migrate.schema import migrate
from event_service.rebuild.rebuild import rebuild
from event_service.rebuild.segment import Job
from local.progress import table
from local.stack import Stack, create_database, running_postgres

FASTER = 5  # than the replay, in events a second, at least
BATCHES = 300
_BATCH = 100
_WORKERS = 2


def measure(directory: Path, rounds: int, batches: int, progress: Callable[[str], None]) -> float:
    """Replay so many batches of 100 through the handler, rebuild from what they stored, and return how much faster.

    The median of so many rounds.
    """
    with running_postgres(directory / "postgres") as postgres:
        stack = Stack(postgres.url, "")
        measured = [_measure(stack, batches, progress) for _ in range(rounds)]
    replayed, rebuilt = (statistics.median(rates) for rates in zip(*measured, strict=True))
    ratio = statistics.median(rebuild / replay for replay, rebuild in measured)
    table(
        f"Rebuilding {batches * _BATCH:,} events with {_WORKERS} workers, starting them included",
        ("way", "events/s", "faster"),
        [("replay, batches of 100", f"{replayed:,.0f}", ""), ("rebuild", f"{rebuilt:,.0f}", f"{ratio:.1f} x")],
    )
    return ratio


def _measure(stack: Stack, batches: int, progress: Callable[[str], None]) -> tuple[float, float]:
    url = create_database(stack, "rebuilt")
    migrate(DatabaseSettings(url=url))
    with running_endpoint(AWS_LIKE, stack.database_url) as ports, _environment(stack, ports) as environment:
        progress(f"replaying {batches * _BATCH:,} events through the handler")
        replayed = 0.0
        for number in range(batches):
            records = batch_of(_BATCH, number)
            with contextlib.redirect_stdout(io.StringIO()):
                started = time.perf_counter()
                answer = lambda_handler({"Records": records}, None)
                replayed += time.perf_counter() - started
            assert answer == {"batchItemFailures": []}, answer
        live = _rows(url)
        with psycopg.connect(url) as connection:
            connection.execute("TRUNCATE notifications")
        progress("rebuilding the notifications from the event store")
        started = time.perf_counter()
        rebuild(Job(DatabaseSettings.from_environment(environment), environment["EVENT_STORE_TABLE"], workers=_WORKERS))
        rebuilt = time.perf_counter() - started
    if _rows(url) != live:
        raise RuntimeError("the rebuilt rows are others")
    return len(live) / replayed, len(live) / rebuilt


@contextlib.contextmanager
def _environment(stack: Stack, ports: tuple[int, int]) -> Iterator[dict[str, str]]:
    """Point the handler at the endpoint, and the processes of the rebuild."""
    before = dict(os.environ)
    os.environ.update(environment_of(stack, ports, "rebuilt"))
    try:
        yield dict(os.environ)
    finally:
        os.environ.clear()
        os.environ.update(before)


def _rows(url: str) -> list[tuple[str]]:
    with psycopg.connect(url) as connection:
        return connection.execute("SELECT n::text FROM notifications AS n ORDER BY id").fetchall()
