"""`python -m benchmarks.rebuild`: rebuilding notifications beside replaying the same events.

Both on the embedded stack, and the rows of the two have to be the same, to the byte.
"""

import contextlib
import io
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg

from benchmarks.worker import batch_of
from event_service.config import DatabaseSettings
from event_service.handler import lambda_handler
from event_service.migrate import migrate
from event_service.rebuild import Job, rebuild
from local.progress import step, table
from local.stack import Stack, create_database, running_stack, stop_when_terminated

BATCHES = 100
_BATCH = 100
_FASTER = 5  # than the replay, in events a second, at least
_TABLE = "event-store"


def main() -> int:
    """Measure a rebuild; return the exit status, which is 1 below the floor."""
    stop_when_terminated()
    try:
        with tempfile.TemporaryDirectory(prefix="event-service-") as directory:
            return measure(Path(directory), BATCHES, step)
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return 130


def measure(directory: Path, batches: int, progress: Callable[[str], None]) -> int:
    """Replay so many batches of 100 through the handler, rebuild, print both rates; return 1 below the floor."""
    with running_stack(directory, progress) as stack, _environment(stack) as database:
        progress(f"replaying {batches * _BATCH:,} events through the handler")
        replayed = 0.0
        for number in range(batches):
            records = batch_of(_BATCH, number)
            with contextlib.redirect_stdout(io.StringIO()):
                started = time.perf_counter()
                answer = lambda_handler({"Records": records}, None)
                replayed += time.perf_counter() - started
            assert answer == {"batchItemFailures": []}, answer
        live = _rows(database.url)
        with psycopg.connect(database.url) as connection:
            connection.execute("TRUNCATE notifications")
        progress("rebuilding the notifications from the event store")
        started = time.perf_counter()
        rebuild(Job(database, _TABLE, workers=2))
        rebuilt = time.perf_counter() - started
        assert _rows(database.url) == live, "the rebuilt rows are others"
    rates = [len(live) / seconds for seconds in (replayed, rebuilt)]
    ratio = rates[1] / rates[0]
    met = "met" if ratio >= _FASTER else "MISSED"
    table(
        f"Rebuilding {len(live):,} events, processes started included",
        ("way", "events/s", ""),
        [
            ("replay, batches of 100", f"{rates[0]:,.0f}", ""),
            ("rebuild", f"{rates[1]:,.0f}", f"{ratio:.1f} x"),
            ("floor", "", f"{_FASTER} x {met}"),
        ],
    )
    return int(ratio < _FASTER)


@contextlib.contextmanager
def _environment(stack: Stack) -> Iterator[DatabaseSettings]:
    """Make the event store, the topic and the database, and point the handler at them."""
    keys = (("pk", "HASH"), ("sk", "RANGE"))
    stack.client("dynamodb").create_table(
        TableName=_TABLE,
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": name, "KeyType": kind} for name, kind in keys],
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name, _ in keys],
    )
    topic_arn = stack.client("sns").create_topic(Name="notifications")["TopicArn"]
    database = DatabaseSettings(url=create_database(stack, "rebuilt"))
    migrate(database)
    before = dict(os.environ)
    os.environ.update(stack.environment())
    os.environ.update(DATABASE_URL=database.url, EVENT_STORE_TABLE=_TABLE, NOTIFICATION_TOPIC_ARN=topic_arn)
    try:
        yield database
    finally:
        os.environ.clear()
        os.environ.update(before)


def _rows(url: str) -> list[tuple[str]]:
    with psycopg.connect(url) as connection:
        return connection.execute("SELECT n::text FROM notifications AS n ORDER BY id").fetchall()


if __name__ == "__main__":
    sys.exit(main())
