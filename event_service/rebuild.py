"""Makes the notifications from the event store alone: `python -m event_service.rebuild`.

The event store is scanned in segments side by side, and each page is merged into the table in one transaction with
the place reached. A rebuild that was broken off, even by a kill, goes on from there when started again. The service
may be running: the newest event of an item still decides. Nothing is published.

Rows are written, never removed: --verify names those that no stored event accounts for.

Exit status: 0 done, 1 --verify found differences, 2 the rebuild could not be done.
"""

import argparse
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, Final

import botocore.session
import psycopg
from botocore.exceptions import ClientError
from urllib3.exceptions import HTTPError

from event_service.aws import DynamoDb, make_endpoint
from event_service.batches import is_transient
from event_service.commands import SHADOW, alone, drop_shadow, make_client, merge, open_database, run
from event_service.config import DatabaseSettings, event_store_table
from event_service.database import TimeLimitedConnection
from event_service.errors import Rejected
from event_service.events import KNOWN_TYPES
from event_service.items import Item
from event_service.replay import fold

_TARGET: Final = "notifications"
_ATTEMPTS: Final = 10  # to get one page further: with their pauses about a minute, as long as a failover takes
_LONGEST_PAUSE_SECONDS: Final = 20
_DEFAULT_SEGMENTS: Final = 4
_DIFFERENCES_NAMED: Final = 20
_ATTRIBUTES: Final = (
    "pk",
    "sk",
    "id",
    "eventType",
    "userId",
    "userEmail",
    "occurredAt",
    "eventData",
    "eventDataEncoding",
)


@dataclass(frozen=True, slots=True)
class Job:
    """What to rebuild from what; one worker works in this process, more in processes of their own."""

    database: DatabaseSettings
    source: str
    target: str = _TARGET
    workers: int = 1
    segments: int = _DEFAULT_SEGMENTS


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a rebuild has come: items scanned, events with an effect among them, those that were refused."""

    scanned: int
    events: int
    refused: int


@dataclass(frozen=True, slots=True)
class Difference:
    """Rows that are `missing`, `extra` or `differing` in notifications, and the ids of the first of them."""

    kind: str
    count: int
    ids: list[str]


def rebuild(job: Job, report: Callable[[Progress], None] = lambda _: None) -> Progress:
    """Merge every event of the event store into the notifications; `report` is called about every second.

    Raises:
        CommandError: another rebuild, or an erasure, is running.
        psycopg.Error, botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError,
        urllib3.exceptions.HTTPError: a backend failed for long.

    """
    with alone(job.database) as connection:
        return _fill(connection, job, report)


def compare(job: Job, report: Callable[[Progress], None] = lambda _: None) -> tuple[Progress, list[Difference]]:
    """Rebuild into a table of its own and compare the two, byte by byte; the notifications stay as they are.

    Raises:
        The same as `rebuild`.

    """
    shadow = Job(job.database, job.source, SHADOW, job.workers, job.segments)
    with alone(job.database) as connection:
        drop_shadow(connection)
        connection.execute(f"CREATE UNLOGGED TABLE {SHADOW} (LIKE {_TARGET} INCLUDING ALL)")
        try:
            progress = _fill(connection, shadow, report)
            differences = connection.execute(
                "SELECT kind, count(*), (array_agg(id::text ORDER BY id))[:%s] FROM ("
                " SELECT id, CASE WHEN s.id IS NULL THEN 'extra' WHEN n.id IS NULL THEN 'missing' ELSE 'differing' END"
                f" AS kind FROM {_TARGET} AS n FULL JOIN {SHADOW} AS s USING (id)"
                " WHERE n::text IS DISTINCT FROM s::text) AS different GROUP BY kind ORDER BY kind",
                (_DIFFERENCES_NAMED,),
            )
            return progress, [Difference(*row) for row in differences]
        finally:
            drop_shadow(connection)


def _fill(connection: TimeLimitedConnection, job: Job, report: Callable[[Progress], None]) -> Progress:
    where = "WHERE target = %s AND source = %s"
    key = (job.target, job.source)
    with connection.transaction():
        connection.execute("DELETE FROM merged_events WHERE merged_at < now() - interval '30 days'")
        # One of another event store was given up; one of this goes on, with the segments it was started with.
        connection.execute("DELETE FROM rebuild_progress WHERE target = %s AND source <> %s", key)
        # One whose rows are gone has nothing to go on with.
        connection.execute(
            f"DELETE FROM rebuild_progress WHERE target = %s AND NOT EXISTS (SELECT FROM {job.target})", (job.target,)
        )
        if connection.execute(f"SELECT FROM rebuild_progress {where} LIMIT 1", key).fetchone() is None:
            connection.execute(
                "INSERT INTO rebuild_progress (target, source, segment) SELECT %s, %s, generate_series(0, %s - 1)",
                (*key, job.segments),
            )
    rows = connection.execute(f"SELECT segment, count(*) OVER () FROM rebuild_progress {where}", key).fetchall()
    sums = f"SELECT sum(scanned)::bigint, sum(events)::bigint, sum(refused)::bigint FROM rebuild_progress {where}"

    def progress() -> Progress:
        return Progress(*(connection.execute(sums, key).fetchone() or (0, 0, 0)))

    pool = _pool(job.workers)
    try:
        pending = {pool.submit(_merge_segment, job, segment, segments) for segment, segments in rows}
        while pending:
            done, pending = wait(pending, timeout=1, return_when="FIRST_EXCEPTION")
            for each in done:
                each.result()
            report(progress())
    finally:
        pool.shutdown(cancel_futures=True)
    total = progress()
    connection.execute(f"DELETE FROM rebuild_progress {where}", key)
    return total


def _pool(workers: int) -> Executor:
    if workers == 1:
        return ThreadPoolExecutor(1)
    return ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _end_with_parent)


def _end_with_parent() -> None:
    """Let a worker end also where the process that started it was killed."""
    threading.Thread(target=_wait_for_parent, daemon=True).start()


def _wait_for_parent() -> None:
    if (parent := multiprocessing.parent_process()) is not None:
        parent.join()
        os._exit(1)


def _merge_segment(job: Job, segment: int, segments: int) -> None:
    """Merge a segment from where it got to; after a failure that may pass, again from there."""
    failures = 0
    while True:
        try:
            with open_database(job.database) as connection:
                for _ in _merge_pages(connection, job, segment, segments):
                    failures = 0
                return
        except (psycopg.OperationalError, psycopg.errors.UniqueViolation, ClientError, HTTPError) as exc:
            failures += 1
            if failures == _ATTEMPTS or (isinstance(exc, ClientError) and not is_transient(exc)):
                raise
            print(f"rebuild: segment {segment}: {type(exc).__name__}, trying again", file=sys.stderr)
            time.sleep(min(2**failures / 20, _LONGEST_PAUSE_SECONDS))


def _merge_pages(connection: TimeLimitedConnection, job: Job, segment: int, segments: int) -> Iterator[None]:
    """Merge a segment page by page; yield after each."""
    where = "WHERE target = %s AND segment = %s"
    pk, sk, done = connection.execute(
        f"SELECT last_pk, last_sk, done FROM rebuild_progress {where}", (job.target, segment)
    ).fetchone() or (None, None, True)
    if done:
        return
    for page in _scan(job.source, segment, segments, (pk, sk)):
        refused = 0

        def refuse(item: Item, reason: Rejected) -> None:
            nonlocal refused
            refused += 1
            place = " ".join(item.get(name, {}).get("S", "?") for name in ("pk", "sk"))
            print(f"rebuild: refused: {place}: {reason}", file=sys.stderr)

        with connection.transaction():
            for requests in fold(reversed(page["Items"]), refuse):
                refused += merge(connection, job.target, requests)
            last = page.get("LastEvaluatedKey")
            connection.execute(
                "UPDATE rebuild_progress SET last_pk = %s, last_sk = %s, done = %s, scanned = scanned + %s,"
                f" events = events + %s, refused = refused + %s {where}",
                (
                    last and last["pk"]["S"],
                    last and last["sk"]["S"],
                    last is None,
                    page["ScannedCount"],
                    page["Count"],
                    refused,
                    job.target,
                    segment,
                ),
            )
        yield


def _scan(table: str, segment: int, segments: int, start: tuple[str | None, str | None]) -> Iterator[Any]:
    """Yield the pages of a segment with the events of known types, after a key if there is one."""
    types = {f":{number}": {"S": name} for number, name in enumerate(KNOWN_TYPES)}
    request: dict[str, Any] = {
        "TableName": table,
        "Segment": segment,
        "TotalSegments": segments,
        "ConsistentRead": True,
        "FilterExpression": f"#eventType IN ({', '.join(types)})",
        "ProjectionExpression": ", ".join(f"#{name}" for name in _ATTRIBUTES),
        "ExpressionAttributeNames": {f"#{name}": name for name in _ATTRIBUTES},
        "ExpressionAttributeValues": types,
    }
    if start[0] is not None:
        request["ExclusiveStartKey"] = {"pk": {"S": start[0]}, "sk": {"S": start[1]}}
    client = DynamoDb(make_endpoint(botocore.session.get_session(), "dynamodb"))
    while True:
        page = client.scan(**request)
        yield page
        if "LastEvaluatedKey" not in page:
            return
        request["ExclusiveStartKey"] = page["LastEvaluatedKey"]


def _print_progress(total: int) -> Callable[[Progress], None]:
    started = time.monotonic()
    before: list[int] = []

    def report(progress: Progress) -> None:
        before.append(progress.scanned)  # after a restart, what was done before it counts for no rate
        rate = (progress.scanned - before[0]) / (time.monotonic() - started)
        left = f", about {(total - progress.scanned) / rate:.0f} s left" if rate and total > progress.scanned else ""
        of = f" of about {total:,}" if total else ""
        print(f"rebuild: {progress.scanned:,}{of} items, {progress.events:,} events, {rate:,.0f} items/s{left}")

    return report


def main(arguments: Sequence[str] | None = None) -> int:
    """Rebuild what the environment names; return the exit status."""
    description, _, details = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        "python -m event_service.rebuild",
        description=description,
        epilog=details
        + "\nEnvironment: EVENT_STORE_TABLE, DATABASE_URL (or DATABASE_SECRET_ARN, _HOST, _NAME), AWS_*.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--workers", type=_positive, default=min(os.cpu_count() or 1, 8), help="processes (%(default)s)"
    )
    parser.add_argument("--segments", type=_positive, default=_DEFAULT_SEGMENTS, help="of the scan (%(default)s)")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--dry-run", action="store_true", help="write nothing, and report what a rebuild would change")
    mode.add_argument("--verify", action="store_true", help="the same, and fail where there is any difference")
    return run("rebuild", lambda: _rebuild(parser.parse_args(arguments)))


def _positive(text: str) -> int:
    if not (text.isdecimal() and int(text)):
        raise argparse.ArgumentTypeError("is no whole number of 1 or more")
    return int(text)


def _rebuild(options: argparse.Namespace) -> int:
    database = DatabaseSettings.from_environment(os.environ)
    job = Job(database, event_store_table(os.environ), _TARGET, options.workers, options.segments)
    started = time.monotonic()
    # DynamoDB counts the items every six hours or so.
    report = _print_progress(make_client("dynamodb").describe_table(TableName=job.source)["Table"]["ItemCount"])
    differences: list[Difference] = []
    if options.dry_run or options.verify:
        progress, differences = compare(job, report)
    else:
        progress = rebuild(job, report)
    seconds = time.monotonic() - started
    print(f"rebuild: {progress.events:,} events, {progress.refused:,} of them refused, in {seconds:.1f} s")
    for difference in differences:
        more = difference.count - len(difference.ids)
        print(
            f"rebuild: {difference.count:,} {difference.kind}:", *difference.ids, f"and {more:,} more" if more else ""
        )
    if (options.dry_run or options.verify) and not differences:
        print("rebuild: the notifications are what the event store says")
    return int(options.verify and bool(differences))


if __name__ == "__main__":
    sys.exit(main())
