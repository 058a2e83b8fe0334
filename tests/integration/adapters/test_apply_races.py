"""The locks of the SQL functions and the conditions of their statements, each with a race or a state that needs it."""

import itertools
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, cast

import psycopg
import pytest

from event_service.adapters.notifications import Applied, Notifications, ProjectedEvent, _request
from event_service.adapters.upkeep import NOTIFICATIONS, empty_row, merge, rows_of
from event_service.codec.instants import Instant
from event_service.deadline import Deadline
from event_service.domain.event import Event
from event_service.domain.precedence import Precedence, precedence
from event_service.domain.projection import project
from event_service.errors import RecordError
from event_service.merging import _composite
from tests.integration.adapters.service_database import database_at
from tests.support.tables import printed_rows

Connection = psycopg.Connection[tuple[Any, ...]]


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def connect(database_url: str) -> Callable[[], Connection]:
    """Open another session, whose transaction ends when it is closed."""
    return lambda: psycopg.connect(database_url)


def event(second: int, verb: str = "updated", item: str = "item", message: str = "") -> Event:
    return Event(
        id=f"event-{second}",
        occurred_at=Instant(f"2026-11-23T12:00:{second:02}.000000Z"),
        event_type=f"reminder:{verb}",
        item_type="reminder",
        item_id=item,
        user_id="user",
        user_email="alice@example.com",
        causation_id=None,
        data=json.dumps({"date": "2027-01-01T08:00:00Z", "message": message or f"at {second}"}),
    )


def outcomes(url: str, *events: Event) -> list[str]:
    """Apply events in one batch; return for each what became of it and, after a colon, its fact."""
    projected = [
        ProjectedEvent(each, each.known_type, project(each, each.known_type), None)
        for each in events
        if each.known_type
    ]
    found = Notifications(database_at(url)).apply(projected, Deadline.after(20))
    return [_text(found[each.key]) for each in events]


def _text(outcome: Applied | RecordError) -> str:
    if isinstance(outcome, RecordError):
        return "locked" if "another session holds the row" in str(outcome) else str(outcome)
    return f"{outcome.status}:{outcome.fact.kind}" if outcome.fact else outcome.status


def acknowledge(url: str, *events: Event, claims: int = 0) -> list[str]:
    """Acknowledge the facts of events; return the causes of the facts that were claimed."""
    facts = Notifications(database_at(url)).acknowledge([each.key for each in events], claims, Deadline.after(20))
    return [fact.sk.partition("#")[2] for fact in facts]


def merged(connection: Any, deciding: Event, first_seen: Event | None = None, announced: Event | None = None) -> None:
    """Merge an event as a rebuild does."""
    assert merge(connection, NOTIFICATIONS, [merge_request(deciding, first_seen, announced)]) == []


def merge_request(deciding: Event, first_seen: Event | None = None, announced: Event | None = None) -> str:
    """What merges an event."""
    known = deciding.known_type
    assert known is not None
    place: Precedence | None = None
    if announced is not None:
        assert announced.known_type is not None
        place = precedence(announced, announced.known_type.effect)
    members = {
        "pk": json.dumps(deciding.pk),
        "id": json.dumps(deciding.id),
        "effect": json.dumps(known.effect),
        "subject": json.dumps(known.subject),
        "firstSeen": json.dumps((first_seen or deciding).occurred_at),
        "announced": _composite(place),
        "notification": project(deciding, known),
    }
    return "{" + ",".join(f'"{name}":{value}' for name, value in members.items()) + "}"


def row(connection: Connection) -> tuple[Any, ...]:
    """The ids of the deciding and of the last announced event, the second of `created_at`, and the message."""
    (found,) = connection.execute(
        "SELECT (decided_by).event_id, (announced).event_id, extract(second FROM created_at)::int,"
        " notification_data ->> 'message' FROM notifications"
    ).fetchall()
    return found


def waiting(connection: Connection) -> list[str]:
    """The causes and kinds of the facts in the outbox."""
    rows = connection.execute("SELECT event_sk, kind FROM outbox ORDER BY event_sk").fetchall()
    return [f"{sk.partition('#')[2]}:{kind}" for sk, kind in rows]


def hold(connect: Callable[[], Connection], *events: Event) -> Connection:
    """Apply events in another session and leave its transaction open."""
    other = connect()
    members = [
        _request(ProjectedEvent(each, each.known_type, project(each, each.known_type), None))
        for each in events
        if each.known_type
    ]
    other.execute("SELECT FROM apply_events(%s::json)", (f"[{','.join(members)}]",))
    return other


def await_lock(connection: Connection) -> None:
    """Wait until another session waits for a lock."""
    waits = "SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    give_up = time.monotonic() + 10
    while connection.execute(waits).fetchone() != (True,):
        assert time.monotonic() < give_up


def commit_when_awaited(other: Connection, connection: Connection) -> None:
    """Commit once another session waits for a lock."""
    await_lock(connection)
    other.commit()
    other.close()


def test_a_locked_row_holds_up_nothing_else(database_url: str, connect: Callable[[], Connection]) -> None:
    """The free rows are applied at once; the locked one when it is free, once."""
    outcomes(database_url, *(event(1, "created", item) for item in "abc"))
    batch = [event(3, "updated", item) for item in "abc"]
    other = hold(connect, event(2, "updated", "b"))
    assert outcomes(database_url, *batch) == ["applied:updated", "locked", "applied:updated"]
    other.commit()
    other.close()
    assert outcomes(database_url, *batch) == ["duplicate:updated", "applied:updated", "duplicate:updated"]
    acknowledge(database_url, *batch)
    assert outcomes(database_url, *batch) == ["duplicate"] * 3


def test_an_older_event_does_not_replace_what_another_batch_is_applying(
    database_url: str, connection: Connection, connect: Callable[[], Connection]
) -> None:
    """The row as it was before the other batch says nothing about which of the two decides."""
    outcomes(database_url, event(1, "created"))
    other = hold(connect, event(3))
    assert outcomes(database_url, event(2)) == ["locked"]
    other.commit()
    other.close()
    assert outcomes(database_url, event(2)) == ["superseded"]
    assert row(connection) == ("event-3", "event-3", 1, "at 3")


def test_a_row_that_another_batch_inserts_at_the_same_moment_is_not_taken_for_ones_own(
    database_url: str, connection: Connection, connect: Callable[[], Connection]
) -> None:
    """None of the notification's events is applied: neither the oldest nor the newer ones."""
    connection.execute("ALTER FUNCTION apply_events(json) SET lock_timeout = '10s'")
    other = hold(connect, event(1, "created"))
    with ThreadPoolExecutor(1) as pool:
        applying = pool.submit(outcomes, database_url, event(2), event(3))
        commit_when_awaited(other, connection)
        assert applying.result() == ["locked", "locked"]
    assert row(connection) == ("event-1", "event-1", 1, "at 1")
    assert waiting(connection) == ["event-1:created"]
    assert outcomes(database_url, event(2), event(3)) == ["applied:updated", "applied:updated"]


def test_a_fact_that_another_session_acknowledges_does_not_hold_up_its_event(
    database_url: str, connect: Callable[[], Connection]
) -> None:
    """The redelivery publishes it again at worst."""
    outcomes(database_url, event(1, "created"))
    with connect() as other:
        other.execute("SELECT FROM outbox FOR UPDATE")
        assert outcomes(database_url, event(1, "created")) == ["duplicate:created"]


def test_an_event_is_applied_once(database_url: str, connection: Connection) -> None:
    """Its fact waits until it is acknowledged; then nothing is left to do."""
    assert outcomes(database_url, event(1, "created")) == ["applied:created"]
    assert outcomes(database_url, event(1, "created")) == ["duplicate:created"]
    acknowledge(database_url, event(1, "created"))
    assert outcomes(database_url, event(1, "created")) == ["duplicate"]
    assert waiting(connection) == []


def test_a_late_event_changes_only_when_it_all_began(database_url: str, connection: Connection) -> None:
    """And only backwards."""
    assert outcomes(database_url, event(5, "created")) == ["applied:created"]
    assert outcomes(database_url, event(2), event(3, "deleted")) == ["superseded", "superseded"]
    assert row(connection) == ("event-5", "event-5", 2, "at 5")
    assert outcomes(database_url, event(4)) == ["superseded"]
    assert row(connection) == ("event-5", "event-5", 2, "at 5")


def test_an_event_that_a_rebuild_applied_still_has_its_fact(database_url: str, connection: Connection) -> None:
    """Once, and only the one that decides."""
    merged(connection, event(3), first_seen=event(1))
    assert outcomes(database_url, event(2)) == ["superseded"]
    assert outcomes(database_url, event(3)) == ["applied:created"]
    acknowledge(database_url, event(3))
    assert outcomes(database_url, event(3)) == ["duplicate"]
    assert row(connection) == ("event-3", "event-3", 1, "at 3")


def test_an_event_that_a_rebuild_announced_has_no_second_fact(database_url: str, connection: Connection) -> None:
    """What subscribers were last told decides the kind of the next fact."""
    merged(connection, event(2), announced=event(2))
    assert outcomes(database_url, event(2)) == ["duplicate"]
    assert outcomes(database_url, event(3, "deleted")) == ["applied:deleted"]
    assert outcomes(database_url, event(4, "deleted")) == ["applied"]
    assert row(connection)[:2] == ("event-4", "event-3")
    assert outcomes(database_url, event(5)) == ["applied:created"]


def test_a_deletion_that_had_no_fact_has_one_if_subscribers_turn_out_to_know_the_notification(
    database_url: str, connection: Connection
) -> None:
    """The row was lost, and a rebuild finds the fact of an earlier event."""
    assert outcomes(database_url, event(5, "deleted")) == ["applied"]
    assert row(connection)[:2] == ("event-5", None)
    merged(connection, event(1, "created"), announced=event(1, "created"))
    assert outcomes(database_url, event(5, "deleted")) == ["applied:deleted"]


def test_an_event_whose_data_was_erased_tells_what_is_left(database_url: str, connection: Connection) -> None:
    """The batch had read it before; the row is not filled again either."""
    merged(connection, replace(event(2, message="left"), user_email=None))
    assert outcomes(database_url, event(2, message="secret")) == ["applied:created"]
    (fact,) = connection.execute("SELECT notification::text FROM outbox").fetchone() or ("",)
    assert "left" in fact
    assert "secret" not in fact
    assert "alice" not in fact
    assert row(connection) == ("event-2", "event-2", 2, "left")


def test_a_fact_that_waits_stays_as_it_is_when_its_row_was_lost(database_url: str, connection: Connection) -> None:
    """It may be published already: another fact of the same event would contradict it."""
    outcomes(database_url, event(1, "created"), event(2))
    acknowledge(database_url, event(1, "created"))
    connection.execute("DELETE FROM notifications")
    assert outcomes(database_url, event(2)) == ["applied:updated"]
    assert waiting(connection) == ["event-2:updated"]


def test_only_the_named_facts_leave_the_outbox(database_url: str, connection: Connection) -> None:
    """The others are still to be published."""
    outcomes(database_url, event(1, "created"), event(1, "created", "other"), event(2))
    acknowledge(database_url, event(1, "created"))
    assert waiting(connection) == ["event-1:created", "event-2:updated"]


def test_orphaned_facts_are_claimed_by_one_invocation_and_again_after_a_while(
    database_url: str, connection: Connection, connect: Callable[[], Connection]
) -> None:
    """Oldest first, as many as asked for, none that another session is claiming or that a redelivery takes along."""
    batch = [event(1, "created"), event(2), event(3), event(4), event(5)]
    outcomes(database_url, *batch)
    age = "UPDATE outbox SET committed_at = now() - %s * interval '1 minute' WHERE event_sk = %s"
    for minutes, each in zip((180, 190, 14, 17, 16), batch, strict=True):
        connection.execute(age, (minutes, each.sk))
    outcomes(database_url, event(5))  # its redelivery publishes it
    with connect() as other:
        other.execute("SELECT FROM outbox WHERE event_sk = %s FOR UPDATE", (event(4).sk,))
        assert acknowledge(database_url, claims=9) == ["event-2", "event-1"]
    assert acknowledge(database_url, claims=0) == []
    assert acknowledge(database_url, claims=9) == ["event-4"]
    connection.execute("UPDATE outbox SET committed_at = committed_at - interval '16 minutes'")
    assert acknowledge(database_url, claims=2) == ["event-2", "event-1"]


def test_a_merge_takes_the_greatest_of_everything(database_url: str, connection: Connection) -> None:
    """Of the deciding event and the announced one, and the earliest of when it began; in any order, once or twice."""
    pages: list[Callable[[], None]] = [
        lambda: merged(connection, event(2), first_seen=event(1), announced=event(1, "created")),
        lambda: merged(connection, event(4), first_seen=event(3), announced=event(3)),
        lambda: merged(connection, event(5), first_seen=event(5)),
    ]
    for order in itertools.permutations((*pages, pages[0])):
        connection.execute("DELETE FROM notifications")
        for page in order:
            page()
        assert row(connection) == ("event-5", "event-3", 1, "at 5")


def test_a_merge_of_what_is_there_writes_nothing(connection: Connection) -> None:
    """A rebuild of a large table would double it."""
    merged(connection, event(2), first_seen=event(1), announced=event(2))
    before = connection.execute("SELECT ctid::text, xmin::text FROM notifications").fetchall()
    merged(connection, event(2), first_seen=event(1), announced=event(2))
    merged(connection, event(1), first_seen=event(1), announced=event(1))
    (after,) = connection.execute("SELECT ctid::text FROM notifications").fetchall()
    assert after == before[0][:1]


def test_a_merge_replaces_what_the_same_event_had_made(connection: Connection) -> None:
    """An erasure empties a row through its stored event."""
    merged(connection, event(2, message="secret"), announced=event(2))
    merged(connection, event(2, message="left"))
    assert row(connection) == ("event-2", "event-2", 2, "left")


def test_a_merge_of_the_deciding_event_changes_when_it_is_due_only_if_its_time_was_wrong(
    database_url: str, connection: Connection
) -> None:
    """A rescue stays, and so does what the scheduler has missed; a damaged row is mended."""
    outcomes(database_url, event(2))
    due = "SELECT deliver_at, due_at, query_missed FROM notifications"
    ((deliver_at, *_),) = connection.execute(due).fetchall()
    rescued = connection.execute(
        "UPDATE notifications SET due_at = due_at + interval '2 minutes', query_missed = true"
        " RETURNING deliver_at, due_at, query_missed"
    ).fetchall()
    merged(connection, event(2, message="left"))
    assert row(connection)[-1] == "left"
    assert connection.execute(due).fetchall() == rescued
    connection.execute("UPDATE notifications SET deliver_at = deliver_at + interval '1 day'")
    merged(connection, event(2, message="left"))
    assert connection.execute(due).fetchall() == [(deliver_at, deliver_at, True)]


def test_a_merge_waits_for_a_batch_and_does_not_undo_it(
    database_url: str, connection: Connection, connect: Callable[[], Connection]
) -> None:
    """The stored events were read before the batch applied a newer one."""
    outcomes(database_url, event(1, "created"))
    other = hold(connect, event(3))
    with connect() as rebuilding, ThreadPoolExecutor(1) as pool:
        rebuilding.autocommit = True
        merging = pool.submit(merged, rebuilding, event(2), event(0), event(1, "created"))
        commit_when_awaited(other, connection)
        merging.result()
    assert row(connection) == ("event-3", "event-3", 0, "at 3")


COMMAND = replace(event(1), event_type="notification:update", item_type="notification")


@pytest.mark.parametrize(
    "later",
    [replace(COMMAND, occurred_at=event(2).occurred_at), replace(COMMAND, id="event-2"), event(1)],
    ids=["a later instant", "a greater id", "a greater stream"],
)
def test_an_erasure_leaves_a_row_that_another_event_has_decided_since(
    database_url: str, connection: Any, later: Event
) -> None:
    """What the later event says was never read, and is erased through its own stored event."""
    outcomes(database_url, COMMAND)
    (read,) = rows_of(connection, "user")
    assert outcomes(database_url, later) == ["applied:updated"]
    before = printed_rows(database_url)
    empty_row(connection, read, "{}")
    assert printed_rows(database_url) == before
    (read,) = rows_of(connection, "user")
    empty_row(connection, read, "{}")
    (emptied,) = rows_of(connection, "user")
    assert emptied == replace(read, user_email=None, data="{}")


def test_events_of_one_notification_are_applied_oldest_first_in_whatever_order_they_are_passed(
    connection: Connection, connect: Callable[[], Connection]
) -> None:
    """Each has its fact."""
    other = hold(connect, event(3, "deleted"), event(1, "created"), event(2))
    other.commit()
    other.close()
    assert waiting(connection) == ["event-1:created", "event-2:updated", "event-3:deleted"]


def test_rows_are_inserted_in_one_order_whatever_the_order_of_the_events(
    database_url: str, connection: Connection, connect: Callable[[], Connection]
) -> None:
    """A batch that waits for a row holds none that comes after it: two batches never wait for each other."""
    connection.execute("ALTER FUNCTION apply_events(json) SET lock_timeout = '10s'")
    other = hold(connect, event(1, "created", "b"))
    with ThreadPoolExecutor(1) as pool:
        applying = pool.submit(outcomes, database_url, event(1, "created", "c"), event(2, "created", "b"))
        await_lock(connection)
        connection.execute("ALTER FUNCTION apply_events(json) SET lock_timeout = '200ms'")
        assert outcomes(database_url, event(3, "created", "c")) == ["applied:created"]
        other.commit()
        other.close()
        assert applying.result() == ["superseded", "locked"]


def test_rows_are_merged_in_the_same_order(
    database_url: str, connection: Connection, connect: Callable[[], Connection]
) -> None:
    """A page that waits for a row holds none that comes after it: two workers never wait for each other."""
    page = [merge_request(event(1, "created", item)) for item in "cb"]
    with connect() as rebuilding, ThreadPoolExecutor(1) as pool, hold(connect, event(1, "created", "b")) as other:
        rebuilding.autocommit = True
        merging = pool.submit(merge, cast("Any", rebuilding), NOTIFICATIONS, page)
        await_lock(connection)
        assert outcomes(database_url, event(2, "created", "c")) == ["applied:created"]
        other.commit()
        assert merging.result() == []


def test_facts_are_acknowledged_in_one_order(
    database_url: str, connection: Connection, connect: Callable[[], Connection]
) -> None:
    """A batch that waits for a fact holds none that comes after it: two batches never wait for each other."""
    connection.execute("ALTER FUNCTION acknowledge_facts(json, integer) SET lock_timeout = '10s'")
    later, earlier = event(1, "created", "b"), event(1, "created", "a")
    outcomes(database_url, later)
    outcomes(database_url, earlier)
    lock = "SELECT FROM outbox WHERE event_pk = %s FOR UPDATE NOWAIT"
    with ThreadPoolExecutor(1) as pool:
        with connect() as other:
            other.execute(lock, (earlier.pk,))
            acknowledging = pool.submit(acknowledge, database_url, later, earlier)
            await_lock(connection)
            connection.execute(lock, (later.pk,))
        acknowledging.result()
    assert waiting(connection) == []


def test_an_acknowledgement_does_not_wait_long_for_a_locked_fact(
    database_url: str, connect: Callable[[], Connection]
) -> None:
    """It may be tried again, on the same connection."""
    outcomes(database_url, event(1, "created"))
    with connect() as other:
        other.execute("SELECT FROM outbox FOR UPDATE")
        with pytest.raises(RecordError, match="a lock is held by another session") as caught:
            acknowledge(database_url, event(1, "created"))
    assert caught.value.retryable
