"""Merges the event store into the notifications, in segments side by side."""

from collections.abc import Callable
from concurrent.futures import wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from typing import Final

from event_service.adapters.postgres import TimeLimitedConnection
from event_service.cli import NOTIFICATIONS, SHADOW, CommandError, alone, drop_shadow, note_merge
from event_service.rebuild.segment import Job, merge_segment
from event_service.rebuild.workers import make_workers

_DIFFERENCES_NAMED: Final = 20


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
        psycopg.Error, botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError: a backend failed for long.

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
