"""The progress of a rebuild, in PostgreSQL: the position is stored after each page, and a new run resumes there."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, LiteralString

from event_service.adapters.postgres import TimeLimitedConnection
from event_service.adapters.upkeep import NOTIFICATIONS, SHADOW, create_shadow, drop_shadow
from event_service.config import DatabaseSettings
from event_service.deadline import Deadline

DEFAULT_SEGMENTS: Final = 4
FACTS: Final = "facts"
EVENTS: Final = "events"


@dataclass(frozen=True, slots=True)
class RebuildJob:
    """The source and the target of a rebuild. One worker runs in this process, several run in separate ones.

    `restart` starts over even if an interrupted rebuild could be resumed. At the deadline, it pauses.
    """

    database: DatabaseSettings
    source: str
    target: LiteralString = NOTIFICATIONS
    workers: int = 1
    segments: int = DEFAULT_SEGMENTS
    restart: bool = False
    deadline: Deadline = field(default_factory=Deadline.never)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a rebuild has come: items scanned, events with an effect among them, and how many were refused.

    `seconds` have passed since it began, interruptions included.
    """

    scanned: int
    events: int
    refused: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Position:
    """Where a segment's scan resumes: after this key, or at the beginning if it is None."""

    key: tuple[str, str] | None
    done: bool


def prepare(connection: TimeLimitedConnection, job: RebuildJob, phases: Sequence[str]) -> str | None:
    """Keep the progress of an interrupted rebuild if it can be resumed; otherwise start over.

    Returns:
        When the resumed rebuild began, as text; None if this is a new one.

    """
    with connection.transaction():
        if job.target == SHADOW:
            create_shadow(connection)
        # Start over if another event store was read, the rows are gone, a day has passed, or everything was done.
        connection.execute(
            "DELETE FROM rebuild_progress AS p WHERE p.target = %s AND (p.source <> %s OR %s"
            " OR p.relation IS DISTINCT FROM pg_relation_filenode(to_regclass(p.target))"
            f" OR p.begun_at < now() - interval '1 day'"
            f" OR NOT EXISTS (SELECT FROM {job.target})"
            " AND EXISTS (SELECT FROM rebuild_progress AS o WHERE o.target = p.target AND o.events > o.refused)"
            " OR NOT EXISTS (SELECT FROM rebuild_progress AS o WHERE o.target = p.target AND NOT o.done))",
            (job.target, job.source, job.restart),
        )
        begun = connection.execute("SELECT min(begun_at)::text FROM rebuild_progress WHERE target = %s", (job.target,))
        if (row := begun.fetchone()) and row[0]:
            return str(row[0])
        if job.target == SHADOW:
            drop_shadow(connection)
            create_shadow(connection)
        if FACTS in phases:
            connection.execute("TRUNCATE rebuild_facts")
        connection.execute(
            "INSERT INTO rebuild_progress (target, phase, source, segment, relation)"
            " SELECT %(target)s::text, phase, %(source)s, segment, pg_relation_filenode(%(target)s::text::regclass)"
            " FROM unnest(%(phases)s::text[]) AS phase, generate_series(0, %(segments)s - 1) AS segment",
            {"target": job.target, "source": job.source, "segments": job.segments, "phases": [*phases]},
        )
    return None


def progress_of(connection: TimeLimitedConnection, job: RebuildJob) -> Progress:
    """Return how far a rebuild has come."""
    row = connection.execute(
        "SELECT coalesce(sum(scanned) FILTER (WHERE phase = %s), 0)::bigint, coalesce(sum(events), 0)::bigint,"
        " coalesce(sum(refused), 0)::bigint,"
        " coalesce(extract(epoch FROM clock_timestamp() - min(begun_at)), 0)::double precision"
        " FROM rebuild_progress WHERE target = %s",
        (EVENTS, job.target),
    ).fetchone()
    return Progress(*(row or (0, 0, 0, 0.0)))


def segments_of(connection: TimeLimitedConnection, job: RebuildJob, phase: str) -> tuple[list[int], int]:
    """Return the numbers of a phase's segments that are not done, and the number of all of them."""
    rows = connection.execute(
        "SELECT segment, done FROM rebuild_progress WHERE target = %s AND phase = %s", (job.target, phase)
    ).fetchall()
    return [segment for segment, done in rows if not done], len(rows)


def clear(connection: TimeLimitedConnection, target: LiteralString) -> None:
    """Delete the progress of a rebuild that is complete or given up."""
    connection.execute("DELETE FROM rebuild_progress WHERE target = %s", (target,))
    if target == NOTIFICATIONS:  # a comparison collects no facts: these are an interrupted rebuild's
        connection.execute("TRUNCATE rebuild_facts")


def position_of(connection: TimeLimitedConnection, job: RebuildJob, phase: str, segment: int) -> Position:
    """Return where a segment's scan resumes."""
    row = connection.execute(
        "SELECT last_pk, last_sk, done FROM rebuild_progress WHERE target = %s AND phase = %s AND segment = %s",
        (job.target, phase, segment),
    ).fetchone()
    pk, sk, done = row or (None, None, True)
    return Position(None if pk is None else (pk, sk), done)


def advance(  # noqa: PLR0913  # a row of the table
    connection: TimeLimitedConnection,
    job: RebuildJob,
    phase: str,
    segment: int,
    *,
    last: tuple[str, str] | None,
    scanned: int,
    events: int,
    refused: int,
) -> None:
    """Store that a page is done; `last` is its last key, None if the segment ends with it."""
    connection.execute(
        "UPDATE rebuild_progress SET last_pk = %s, last_sk = %s, done = %s, scanned = scanned + %s,"
        " events = events + %s, refused = refused + %s WHERE target = %s AND phase = %s AND segment = %s",
        (*(last or (None, None)), last is None, scanned, events, refused, job.target, phase, segment),
    )


def add_facts(connection: TimeLimitedConnection, ids: Iterable[str]) -> None:
    """Store the ids of facts that exist."""
    connection.execute("INSERT INTO rebuild_facts (id) SELECT unnest(%s::uuid[])", ([*ids],))


def known_facts(connection: TimeLimitedConnection, ids: Sequence[str]) -> set[str]:
    """Return which of these ids are facts that exist."""
    rows = connection.execute("SELECT id::text FROM rebuild_facts WHERE id = ANY(%s::uuid[])", ([*ids],))
    return {id_ for (id_,) in rows}
