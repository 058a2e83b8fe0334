import itertools
import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import psycopg
import pytest

from event_service.adapters.notifications import Notifications, ProjectedEvent
from event_service.codec.instants import Instant
from event_service.deadline import Deadline
from event_service.domain.event import KNOWN_TYPES, Event, KnownType
from event_service.domain.facts import PendingFact
from event_service.domain.precedence import precedence
from event_service.domain.projection import project
from event_service.errors import RecordError, Unavailable
from tests.integration.adapters.service_database import database_at

DATE = "2027-01-01T08:00:00Z"
Connection = psycopg.Connection[tuple[Any, ...]]


@pytest.fixture
def notifications(database_url: str) -> Notifications:
    return Notifications(database_at(database_url))


@pytest.fixture
def connection(database_url: str) -> Any:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


def event(second: int, event_type: str = "reminder:updated", **fields: Any) -> Event:
    """Return an event of one reminder, `second` seconds after noon."""
    data = fields.pop("data", json.dumps({"date": DATE, "message": f"second {second}"}))
    values = {
        "id": f"event-{second}",
        "occurred_at": Instant(f"2026-11-23T12:00:{second:02}.000000Z"),
        "event_type": event_type,
        "item_type": event_type.partition(":")[0],
        "item_id": "item-1",
        "user_id": "user-a",
        "user_email": "alice@example.com",
        "causation_id": None,
    }
    return Event(**{**values, **fields}, data=data)


def projected(event: Event) -> ProjectedEvent:
    known = KNOWN_TYPES[event.event_type]
    return ProjectedEvent(event, known, project(event, known), event.occurred_at)


def apply(
    notifications: Notifications, *events: Event, seconds: float = 20
) -> tuple[list[PendingFact], dict[Any, RecordError]]:
    """Apply events; return the facts that wait in the outbox, by the causing event, and the failures."""
    outcomes = notifications.apply(map(projected, events), Deadline.after(seconds))
    failures = {key: outcome for key, outcome in outcomes.items() if isinstance(outcome, RecordError)}
    facts = [outcome.fact for outcome in outcomes.values() if not isinstance(outcome, RecordError) and outcome.fact]
    return sorted(facts, key=lambda fact: fact.sk), failures


def kinds(notifications: Notifications, *events: Event) -> list[str]:
    """Apply events and return what changed, by the second of the causing event; nothing is acknowledged."""
    facts, failures = apply(notifications, *events)
    assert not failures
    return [f"{fact.sk[17:19]} {fact.kind}" for fact in facts]


def acknowledge(notifications: Notifications, *facts: PendingFact, claims: int = 10) -> list[PendingFact]:
    return notifications.acknowledge([fact.key for fact in facts], claims, Deadline.after(20))


def rows(connection: Connection) -> list[Any]:
    return connection.execute("SELECT * FROM notifications ORDER BY user_id, item_id").fetchall()


def in_outbox(connection: Connection) -> int:
    (count,) = connection.execute("SELECT count(*) FROM outbox").fetchone() or (None,)
    return int(str(count))


def test_a_life_of_a_reminder_has_a_fact_for_each_change(notifications: Notifications, connection: Connection) -> None:
    """Created, updated, deleted; the row stays as a tombstone that the view does not show."""
    assert kinds(notifications, event(1, "reminder:created")) == ["01 created"]
    assert kinds(notifications, event(2)) == ["02 updated"]
    assert connection.execute('SELECT count(*) FROM "notification"').fetchone() == (1,)
    assert kinds(notifications, event(3, "reminder:deleted", data="{}")) == ["03 deleted"]
    assert connection.execute('SELECT count(*) FROM "notification"').fetchone() == (0,)
    assert len(rows(connection)) == 1
    assert kinds(notifications, event(4)) == ["04 created"]
    assert connection.execute('SELECT count(*) FROM "notification"').fetchone() == (1,)


def test_events_of_one_item_in_one_batch_are_applied_oldest_first(notifications: Notifications) -> None:
    """Each has its fact."""
    batch = [event(3, "reminder:deleted"), event(1, "reminder:created"), event(2)]
    assert kinds(notifications, *batch) == ["01 created", "02 updated", "03 deleted"]


def test_a_late_event_changes_nothing_but_when_it_all_began(
    notifications: Notifications, connection: Connection
) -> None:
    """It has no fact."""
    kinds(notifications, event(5))
    before = rows(connection)
    assert kinds(notifications, event(2)) == []
    connection.execute("UPDATE notifications SET created_at = updated_at")
    assert rows(connection) == before


def test_a_deletion_before_its_creation_keeps_the_item_deleted(notifications: Notifications) -> None:
    """The tombstone alone has no fact."""
    assert kinds(notifications, event(5, "reminder:deleted")) == []
    assert kinds(notifications, event(1, "reminder:created")) == []


TIES: list[Callable[[], Event]] = [
    lambda: event(1, id="a"),
    lambda: event(1, id="b"),
    lambda: event(1, id="B"),
    lambda: event(1, id="\U0001f600"),
    lambda: event(1, id="\uffee"),
    lambda: event(1, "notification:update", id="\U0001f600"),
    lambda: event(1, "reminder:created", id="\U0001f601"),
    lambda: event(1, "reminder:deleted", id="A"),
    lambda: event(0, "reminder:deleted", id="z"),
]


@pytest.mark.parametrize("size", [2, 3])
def test_the_row_does_not_depend_on_the_order_of_arrival(
    notifications: Notifications, connection: Connection, size: int
) -> None:
    """At the same instant a deletion wins, then an update, then the greatest id, then the greatest stream."""
    for chosen in itertools.combinations(TIES, size):
        expected = max((make() for make in chosen), key=lambda e: precedence(e, KNOWN_TYPES[e.event_type].effect))
        for order in itertools.permutations(chosen):
            connection.execute("DELETE FROM notifications")
            connection.execute("DELETE FROM outbox")
            for make in order:
                kinds(notifications, make())
            assert connection.execute(
                "SELECT (decided_by).stream, (decided_by).event_id FROM notifications"
            ).fetchall() == [(expected.pk, expected.id)]


def test_a_fact_waits_until_it_is_acknowledged(notifications: Notifications, connection: Connection) -> None:
    """Even after a newer event has changed the row; once acknowledged, the event yields nothing."""
    first, _ = apply(notifications, event(1, "reminder:created"))
    second, _ = apply(notifications, event(2))
    again, _ = apply(notifications, event(1, "reminder:created"))
    assert again == first
    assert acknowledge(notifications, *first, *second) == []
    assert apply(notifications, event(1, "reminder:created"), event(2)) == ([], {})
    assert in_outbox(connection) == 0


def test_a_fact_tells_the_row_as_it_became(notifications: Notifications) -> None:
    """To the last digit, with the creation of the earliest event seen."""
    data = '{"date":"2027-01-01T08:00:00Z","n":1.10,"e":1e30}'
    apply(notifications, event(1, "reminder:created"))
    ((change,), _) = apply(notifications, event(3, data=data))
    fact = json.loads(change.notification)
    assert '"n":1.10,"e":1e30' in change.notification
    assert fact["createdAt"] == "2026-11-23T12:00:01.000000Z"
    assert fact["updatedAt"] == "2026-11-23T12:00:03.000000Z"
    assert (change.user_id, change.user_email, change.notification_id) == ("user-a", "alice@example.com", fact["id"])


def test_years_before_1000_keep_their_width(notifications: Notifications) -> None:
    """As text, instants are compared by their characters."""
    ((change,), _) = apply(notifications, event(1, occurred_at=Instant("0001-02-03T04:05:06.000007Z")))
    assert json.loads(change.notification)["createdAt"] == "0001-02-03T04:05:06.000007Z"


def test_a_row_that_postgresql_refuses_fails_alone(notifications: Notifications, connection: Connection) -> None:
    """Its neighbours are applied, whatever the cause."""
    connection.execute("ALTER TABLE notifications ADD CHECK (item_id <> 'item-7')")
    batch = [event(number, item_id=f"item-{number}") for number in range(20)]
    changes, failures = apply(notifications, *batch)
    assert len(changes) == 19
    assert [*failures] == [batch[7].key]
    assert str(failures[batch[7].key]) == "CheckViolation (23514)"


def test_in_halves_too_the_older_events_of_an_item_come_first(
    notifications: Notifications, connection: Connection
) -> None:
    """Each has its fact, whatever the order in the batch and the position of the refused row."""
    connection.execute("ALTER TABLE notifications ADD CHECK (item_id <> 'bad')")
    batch = [event(9), event(5, item_id="bad"), event(6, item_id="other"), event(1)]
    changes, failures = apply(notifications, *batch)
    assert [*failures] == [batch[1].key]
    assert {change.sk[17:19] + change.kind for change in changes} == {"01created", "06created", "09updated"}


def test_one_by_one_too_the_older_events_of_an_item_come_first(
    notifications: Notifications, connection: Connection
) -> None:
    """If PostgreSQL refuses one of them, the others are applied without it."""
    connection.execute("ALTER TABLE notifications ADD CHECK (notification_data ->> 'message' <> 'second 5')")
    changes, failures = apply(notifications, event(9), event(5), event(1))
    assert [*failures] == [event(5).key]
    assert [change.sk[17:19] + change.kind for change in changes] == ["01created", "09updated"]


def test_a_missing_migration_says_what_to_do(database_url: str, connection: Connection) -> None:
    """It is told once and not searched for in every half of the batch."""
    connection.execute("DROP FUNCTION apply_events")
    notifications = Notifications(database_at(database_url))
    _, failures = apply(notifications, event(1), event(2))
    assert len(failures) == 2
    assert all("python -m event_service.migrate" in str(failure) for failure in failures.values())


def test_facts_left_behind_are_claimed_once_and_oldest_first(
    notifications: Notifications, connection: Connection
) -> None:
    """15 minutes after they were committed, and again 15 minutes after the batch that took them failed."""
    changes = [apply(notifications, event(second))[0][0] for second in (1, 2, 3)]
    assert acknowledge(notifications) == []
    for minutes, change in ((16, changes[2]), (17, changes[0]), (14, changes[1])):
        connection.execute(
            "UPDATE outbox SET committed_at = now() - %s * interval '1 minute' WHERE event_sk = %s",
            (minutes, change.sk),
        )
    assert acknowledge(notifications) == [changes[0], changes[2]]
    assert acknowledge(notifications) == []
    connection.execute("UPDATE outbox SET committed_at = committed_at - interval '16 minutes'")
    assert acknowledge(notifications, changes[1]) == [changes[0], changes[2]]
    assert in_outbox(connection) == 2


def test_without_time_postgresql_is_not_blamed(notifications: Notifications) -> None:
    """Nothing is sent, and the reason says so."""
    facts, failures = apply(notifications, event(1), seconds=0)
    assert (facts, [failure.reason for failure in failures.values()]) == ([], ["deadline"])
    with pytest.raises(Unavailable) as caught:
        notifications.acknowledge([event(1).key], 0, Deadline.after(0))
    assert caught.value.reason == "deadline"


def test_the_same_item_of_another_subject_is_another_notification(
    notifications: Notifications, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Invoice 7 and reminder 7 of one user do not affect each other."""
    monkeypatch.setitem(cast("dict[str, KnownType]", KNOWN_TYPES), "invoice:issued", KnownType("create", "invoice"))
    monkeypatch.setitem(cast("dict[str, KnownType]", KNOWN_TYPES), "invoice:paid", KnownType("delete", "invoice"))
    assert kinds(notifications, event(1, "invoice:issued"), event(2, "reminder:created")) == [
        "01 created",
        "02 created",
    ]
    assert kinds(notifications, event(3, "invoice:paid")) == ["03 deleted"]
    found = connection.execute("SELECT subject_type, deleted_at IS NULL FROM notifications ORDER BY 1").fetchall()
    assert found == [("invoice", False), ("reminder", True)]


def test_concurrent_deliveries_make_one_change_each(database_url: str, connection: Connection) -> None:
    """However they meet, every event has at most one fact and the last one decides."""
    batch = [event(second, item_id=f"item-{second % 3}") for second in range(30)]
    barrier = threading.Barrier(4)

    def deliver(offset: int) -> int:
        notifications = Notifications(database_at(database_url))
        own = batch[offset:] + batch[:offset]
        barrier.wait()
        found = 0
        for start in range(0, 30, 5):
            pending = own[start : start + 5]
            while pending:  # rows that another delivery holds are tried again, as the pipeline does
                facts, failures = apply(notifications, *pending)
                assert all(failure.retryable for failure in failures.values())
                pending = [each for each in pending if each.key in failures]
                found += len(facts)
        return found

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(deliver, (0, 7, 13, 22)))
    decided = connection.execute("SELECT (decided_by).event_id FROM notifications ORDER BY item_id").fetchall()
    assert decided == [("event-27",), ("event-28",), ("event-29",)]


def test_a_locked_row_fails_alone_and_at_once(notifications: Notifications, database_url: str) -> None:
    """Its neighbours are applied without waiting for it; it can be tried again."""
    batch = [event(number, item_id=f"item-{number}") for number in range(10)]
    apply(notifications, *batch)
    later = [event(number + 10, item_id=f"item-{number}") for number in range(10)]
    with psycopg.connect(database_url) as other:
        other.execute("SELECT * FROM notifications WHERE item_id = 'item-3' FOR UPDATE")
        started = time.monotonic()
        facts, failures = apply(notifications, *later)
        assert time.monotonic() - started < 2
    assert [str(failure) for failure in failures.values()] == ["another session holds the row"]
    assert [(key, failure.retryable) for key, failure in failures.items()] == [(later[3].key, True)]
    assert len(facts) == 9
    assert kinds(notifications, later[3]) == ["13 updated"]


def test_a_locked_table_is_waited_for_until_the_deadline_at_most(
    notifications: Notifications, database_url: str
) -> None:
    """An index that is being built holds every row."""
    batch = [event(number, item_id=f"item-{number}") for number in range(50)]
    with psycopg.connect(database_url) as other:
        other.execute("LOCK TABLE notifications IN SHARE MODE")
        started = time.monotonic()
        changes, failures = apply(notifications, *batch, seconds=3)
        assert time.monotonic() - started < 5
    assert (changes, len(failures)) == ([], 50)
    # The server may still work on the statement that was given up, and hold its row for a moment.
    while len(apply(notifications, *batch)[0]) < 50:
        assert time.monotonic() - started < 15


def test_facts_that_one_batch_is_publishing_again_are_not_taken_by_another(
    notifications: Notifications, connection: Connection
) -> None:
    """A redelivery takes its own facts, however old; meanwhile no other batch claims them as orphaned."""
    apply(notifications, event(1), event(2, item_id="item-2"))
    connection.execute("UPDATE outbox SET committed_at = now() - interval '1 hour'")
    (again,), _ = apply(notifications, event(1))
    (left_behind,) = acknowledge(notifications)
    assert {again.pk, left_behind.pk} == {event(1).pk, event(2, item_id="item-2").pk}


def test_a_change_that_takes_too_long_is_not_committed(notifications: Notifications, connection: Connection) -> None:
    """The row would miss the scheduler's query for it, and the redelivery would find it there, as if it had not."""
    connection.execute(
        "CREATE FUNCTION stand_still() RETURNS trigger LANGUAGE plpgsql"
        " AS $$ BEGIN PERFORM pg_sleep(4.1); RETURN NEW; END $$"
    )
    connection.execute(
        "CREATE TRIGGER standing BEFORE INSERT ON notifications FOR EACH ROW EXECUTE FUNCTION stand_still()"
    )
    _, failures = apply(notifications, event(1), seconds=1)
    assert len(failures) == 1
    with connection.transaction():
        connection.execute("LOCK TABLE notifications IN SHARE MODE")  # waits until the server is done with it
        assert rows(connection) == []
