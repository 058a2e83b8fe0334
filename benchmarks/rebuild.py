"""A rebuild of the notifications compared with a replay of the same events through the function.

Both run with delays on the wire, and have to produce the same rows, byte for byte.
"""

import contextlib
import io
import os
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg

from benchmarks.throughput import AWS_LIKE, Floor, environment_of, running_endpoint
from benchmarks.worker import batch_of
from event_service.config import DatabaseSettings
from event_service.handler import lambda_handler
from event_service.migrate.schema import migrate
from event_service.rebuild.progress import RebuildJob
from event_service.rebuild.rebuild import rebuild
from local.progress import table
from local.stack import Stack, create_database, running_postgres

_FASTER = 5  # times the events a second of the replay, at least
BATCHES = 1000
_BATCH = 100
_WORKERS = 2


def measure(directory: Path, rounds: int, batches: int, progress: Callable[[str], None]) -> list[Floor]:
    """Replay `batches` of 100 through the handler, rebuild from what they stored, and return the floor of the ratio."""
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
    return [Floor("rebuild, events/s of the replay", f"{_FASTER} x", f"{ratio:.1f} x", ratio >= _FASTER)]


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
        database = DatabaseSettings.from_environment(environment)
        rebuild(RebuildJob(database, environment["EVENT_STORE_TABLE"], workers=_WORKERS))
        rebuilt = time.perf_counter() - started
    if _rows(url) != live:
        raise RuntimeError("the rebuilt rows differ")
    return len(live) / replayed, len(live) / rebuilt


@contextlib.contextmanager
def _environment(stack: Stack, ports: tuple[int, int]) -> Iterator[dict[str, str]]:
    """Point the handler and the rebuild's processes at the endpoint."""
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
