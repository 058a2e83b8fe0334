"""Makes the notifications from the event store alone: `python -m event_service.rebuild`.

The event store is scanned in segments side by side, and after each page that is merged into the table the place is
noted. A rebuild that was broken off, even by a kill, goes on from there when started again. The service may be running:
the newest event of an item still decides. Nothing is published.

Rows are written, never removed: --verify names those that no stored event accounts for.

Exit status: 0 done, 1 --verify found differences, 2 the rebuild could not be done.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from typing import Final

from event_service.commands import (
    NOTIFICATIONS,
    SHADOW,
    CommandError,
    alone,
    drop_shadow,
    make_patient_client,
    note_merge,
    run,
)
from event_service.config import DatabaseSettings, event_store_table
from event_service.database import TimeLimitedConnection
from event_service.rebuild_segment import DEFAULT_SEGMENTS, Job, merge_segment
from event_service.rebuild_workers import make_workers

_DIFFERENCES_NAMED: Final = 20
_MOST: Final = 1000  # workers, or segments: more help nobody


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
        note_merge(connection)
        return _fill(connection, job, report)


def compare(job: Job, report: Callable[[Progress], None] = lambda _: None) -> tuple[Progress, list[Difference]]:
    """Rebuild into a table of its own and compare the two, byte by byte; the notifications stay as they are.

    Raises:
        The same as `rebuild`.

    """
    shadow = replace(job, target=SHADOW)
    with alone(job.database) as connection:
        drop_shadow(connection)
        connection.execute(f"CREATE UNLOGGED TABLE {SHADOW} (LIKE {NOTIFICATIONS} INCLUDING ALL)")
        try:
            progress = _fill(connection, shadow, report)
            differences = connection.execute(
                "SELECT kind, count(*), (array_agg(id::text ORDER BY id))[:%s] FROM ("
                " SELECT id, CASE WHEN s.id IS NULL THEN 'extra' WHEN n.id IS NULL THEN 'missing' ELSE 'differing' END"
                f" AS kind FROM {NOTIFICATIONS} AS n FULL JOIN {SHADOW} AS s USING (id)"
                " WHERE n::text IS DISTINCT FROM s::text) AS different GROUP BY kind ORDER BY kind",
                (_DIFFERENCES_NAMED,),
            )
            return progress, [Difference(*row) for row in differences]
        finally:
            drop_shadow(connection)


def _fill(connection: TimeLimitedConnection, job: Job, report: Callable[[Progress], None]) -> Progress:
    where = "WHERE target = %s AND source = %s"
    key = (job.target, job.source)
    _prepare_progress(connection, job)
    rows = connection.execute(f"SELECT segment, count(*) OVER () FROM rebuild_progress {where}", key).fetchall()
    sums = f"SELECT sum(scanned)::bigint, sum(events)::bigint, sum(refused)::bigint FROM rebuild_progress {where}"

    def progress() -> Progress:
        return Progress(*(connection.execute(sums, key).fetchone() or (0, 0, 0)))

    pool, stop = make_workers(job.workers)
    try:
        pending = {pool.submit(merge_segment, job, segment, segments) for segment, segments in rows}
        while pending:
            done, pending = wait(pending, timeout=1, return_when="FIRST_EXCEPTION")
            for each in done:
                each.result()
            report(progress())
    except BrokenProcessPool as exc:
        raise CommandError("a worker was killed, perhaps for want of memory; the same command goes on") from exc
    finally:
        stop()
        pool.shutdown(cancel_futures=True)
    total = progress()
    connection.execute(f"DELETE FROM rebuild_progress {where}", key)
    return total


def _prepare_progress(connection: TimeLimitedConnection, job: Job) -> None:
    """Keep the progress of a rebuild that was broken off, if there is one to go on with, or begin a new one."""
    target, source = job.target, job.source
    with connection.transaction():
        # There is nothing to go on with where another event store was read, the rows are gone, or all was done.
        connection.execute(
            "DELETE FROM rebuild_progress AS p WHERE p.target = %s AND (p.source <> %s OR %s"
            " OR p.relation IS DISTINCT FROM pg_relation_filenode(p.target::regclass)"
            f" OR p.begun_at < now() - interval '1 day' OR NOT EXISTS (SELECT FROM {target})"
            " OR NOT EXISTS (SELECT FROM rebuild_progress AS o WHERE o.target = p.target AND NOT o.done))",
            (target, source, job.restart),
        )
        begun = connection.execute("SELECT min(begun_at)::text FROM rebuild_progress WHERE target = %s", (target,))
        if (row := begun.fetchone()) and row[0]:
            print(f"rebuild: going on with the one begun at {row[0]}; --restart begins anew")
            return
        connection.execute(
            "INSERT INTO rebuild_progress (target, source, segment, relation)"
            " SELECT %(target)s::text, %(source)s, generate_series(0, %(segments)s - 1),"
            " pg_relation_filenode(%(target)s::text::regclass)",
            {"target": target, "source": source, "segments": job.segments},
        )


def _print_progress(total: int) -> Callable[[Progress], None]:
    started = time.monotonic()
    before: list[int] = []

    def report(progress: Progress) -> None:
        before.append(progress.scanned)  # after a restart, what was done before it counts for no rate
        rate = (progress.scanned - before[0]) / (time.monotonic() - started)
        speed = f", {rate:,.0f} items/s" if rate else ""  # not with the first report, and so not where one is all
        left = f", about {(total - progress.scanned) / rate:.0f} s left" if rate and total > progress.scanned else ""
        of = f" of about {total:,}" if total else ""
        print(f"rebuild: {progress.scanned:,}{of} items, {progress.events:,} events{speed}{left}")

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
    parser.add_argument("--segments", type=_positive, default=DEFAULT_SEGMENTS, help="of the scan (%(default)s)")
    parser.add_argument("--restart", action="store_true", help="begin anew also where a rebuild was broken off")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--dry-run", action="store_true", help="leave the notifications, and report what would change")
    mode.add_argument("--verify", action="store_true", help="the same, and fail where there is any difference")
    return run("rebuild", lambda: _rebuild(parser.parse_args(arguments)))


def _positive(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and 1 <= int(text) <= _MOST):
        raise argparse.ArgumentTypeError(f"is no whole number from 1 to {_MOST:,}")
    return int(text)


def _rebuild(options: argparse.Namespace) -> int:
    database = DatabaseSettings.from_environment(os.environ)
    job = Job(
        database, event_store_table(os.environ), NOTIFICATIONS, options.workers, options.segments, options.restart
    )
    started = time.monotonic()
    # DynamoDB counts the items every six hours or so.
    report = _print_progress(make_patient_client("dynamodb").describe_table(TableName=job.source)["Table"]["ItemCount"])
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
