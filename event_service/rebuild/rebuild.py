"""Rebuilds the notifications from the event store alone.

The event store is scanned twice, in concurrent segments: for the facts, which say what subscribers were told, and for
the events, which are merged into the table page by page. The outbox is read before both, because its facts are stored
before they leave it.
"""

from collections.abc import Callable
from concurrent.futures import Executor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from typing import Final

from event_service.adapters.postgres import TimeLimitedConnection
from event_service.adapters.upkeep import (
    SHADOW,
    Difference,
    compare_with_shadow,
    drop_shadow,
    exclusive_connection,
    pending_facts,
)
from event_service.cli import secrets_client
from event_service.domain.facts import fact_id
from event_service.errors import CommandError, Paused
from event_service.rebuild.progress import (
    EVENTS,
    FACTS,
    Progress,
    RebuildJob,
    add_facts,
    clear,
    prepare,
    progress_of,
    segments_of,
)
from event_service.rebuild.segment import scan_segment
from event_service.rebuild.workers import make_workers

Report = Callable[[Progress], None]
_SHORTEST_WAIT_SECONDS: Final = 0.05


def rebuild(job: RebuildJob, report: Report = lambda _: None) -> Progress:
    """Merge every event of the event store into the notifications; `report` is called about every second.

    Raises:
        CommandError: another rebuild, or an erasure, is running.
        Paused: the job's deadline came first.
        psycopg.Error, botocore.exceptions.ClientError, urllib3.exceptions.HTTPError: a backend was down for too long.

    """
    with exclusive_connection(job.database, secrets_client) as connection:
        return _fill(connection, job, (FACTS, EVENTS), report)


def compare(job: RebuildJob, report: Report = lambda _: None) -> tuple[Progress, list[Difference]]:
    """Rebuild into a second table and compare the two; the notifications stay as they are.

    An interruption leaves the second table, for a comparison that resumes this one.

    Raises:
        The same as `rebuild`.

    """
    with exclusive_connection(job.database, secrets_client) as connection:
        # What subscribers were told is not compared.
        progress = _fill(connection, replace(job, target=SHADOW), (EVENTS,), report)
        differences = compare_with_shadow(connection)
        clear(connection, SHADOW)
        drop_shadow(connection)
        return progress, differences


def _fill(connection: TimeLimitedConnection, job: RebuildJob, phases: tuple[str, ...], report: Report) -> Progress:
    if begun := prepare(connection, job, phases):
        print(f"rebuild: resuming the one begun at {begun}; --restart begins again")
    elif FACTS in phases:
        add_facts(connection, [fact_id(fact.pk, fact.sk, fact.kind) for fact in pending_facts(connection)])
    pool, stop = make_workers(job.workers)
    try:
        for phase in phases:
            _scan(connection, job, phase, (pool, stop), report)
    except BrokenProcessPool as exc:
        raise CommandError("a worker was killed, perhaps out of memory; run the same command again to resume") from exc
    finally:
        stop()
        pool.shutdown(cancel_futures=True)
    total = progress_of(connection, job)
    if job.target != SHADOW:  # the shadow table is compared first
        clear(connection, job.target)
    return total


def _scan(
    connection: TimeLimitedConnection,
    job: RebuildJob,
    phase: str,
    workers: tuple[Executor, Callable[[], None]],
    report: Report,
) -> None:
    pool, stop = workers
    segments, total = segments_of(connection, job, phase)
    pending = {pool.submit(scan_segment, job, phase, segment, total) for segment in segments}
    stopped = False
    while pending:
        seconds = 1 if stopped else max(_SHORTEST_WAIT_SECONDS, min(1, job.deadline.remaining()))
        done, pending = wait(pending, timeout=seconds, return_when="FIRST_EXCEPTION")
        for each in done:
            if not each.cancelled():
                each.result()
        report(progress_of(connection, job))
        if pending and not job.deadline.remaining():
            stopped = True
            stop()
            for each in pending:
                each.cancel()
    if segments_of(connection, job, phase)[0]:
        raise Paused
