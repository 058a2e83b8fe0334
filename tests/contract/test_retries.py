"""§5: what a try left undone, the next one does; facts left behind are published by a later batch."""

from datetime import UTC, datetime, timedelta

import pytest

from .cases import NOTE, legacy, native, reminder_data, sent
from .oracle import Event
from .records import Record, again, native_raw, raw, text
from .world import World

CREATED, UPDATED, DELETED = "reminder:created", "reminder:updated", "reminder:deleted"


def reminder(name: str, second: int, kind: str, item: str = "R1") -> Record:
    """A native event of one reminder at the given second."""
    data = reminder_data(message=name)
    return native_raw(Event(name, f"2026-11-23T06:00:{second:02}.000000Z", kind, item, "user-a", text(data)))


def published(world: World) -> list[tuple[str, str]]:
    """The causes and kinds of the facts that arrived since the last call."""
    return [(message.body["causationId"], message.body["eventType"]) for message in world.published()]


def committed_column(world: World) -> str:
    """The outbox's one `timestamptz`: when each fact was committed (§6)."""
    (column,) = world.query(
        "SELECT column_name FROM information_schema.columns"
        " WHERE table_name = 'outbox' AND data_type = 'timestamp with time zone'"
    )
    return str(column["column_name"])


def leave_behind(world: World, *records: Record) -> None:
    """Apply events without publishing their facts, as a crash between the two would."""
    with world.without_topic():
        answer = world.invoke(records)
    assert answer.failed == {record["messageId"] for record in records}
    assert len(world.outbox()) == len(records)
    assert world.published() == []


def age_outbox(world: World, minutes: float) -> None:
    """Pretend that what is in the outbox was committed so many minutes earlier."""
    column = committed_column(world)
    world.query(f"UPDATE outbox SET {column} = {column} - make_interval(secs => %s)", [minutes * 60])


def test_an_outbox_row_says_when_it_was_committed(world: World) -> None:
    """Its one `timestamptz` is the time of the commit."""
    leave_behind(world, reminder("c", 1, CREATED))
    (row,) = world.outbox()
    assert abs(row[committed_column(world)] - datetime.now(UTC)) < timedelta(minutes=1)


def test_an_event_stored_but_not_applied_is_applied_by_its_redelivery(world: World) -> None:
    """After a failure between the append and the change, the retry applies and publishes once."""
    record = reminder("c", 1, CREATED)
    with world.without_notifications():
        answer = world.invoke([record])
        assert answer.failed == {record["messageId"]}
        (stored,) = world.items().values()
    world.accept(again(record))
    assert world.row()["notification_data"]["message"] == "c"
    assert published(world) == [("c", "notification:created")]
    assert world.events()[stored["pk"], stored["sk"]] == stored
    assert world.outbox() == []


def test_an_event_overtaken_before_it_was_applied_is_only_stored(world: World) -> None:
    """A newer event came in between: the retry lowers `created_at` and has no fact."""
    record = reminder("c", 1, CREATED)
    with world.without_notifications():
        world.invoke([record])
    world.accept(reminder("u", 2, UPDATED))
    world.accept(again(record))
    assert published(world) == [("u", "notification:created")]
    row = world.row()
    assert row["notification_data"]["message"] == "u"
    assert row["created_at"] == datetime(2026, 11, 23, 6, 0, 1, tzinfo=UTC)


def test_a_fact_not_published_is_published_by_its_redelivery(world: World) -> None:
    """After a failure to publish, the retry publishes the fact as it was decided, once, and empties the outbox."""
    record = reminder("c", 1, CREATED)
    leave_behind(world, record)
    world.accept(again(record))
    (message,) = world.published()
    assert message.body["eventType"] == "notification:created"
    assert set(world.facts_stored()) == {message.body["id"]}
    assert world.outbox() == []
    world.accept(again(record))
    assert world.published() == []


def test_a_fact_is_published_even_if_a_newer_event_moved_the_row_on(world: World) -> None:
    """The retry's fact tells of its own event, created as decided then, though the row is another event's now."""
    record = reminder("c", 1, CREATED)
    leave_behind(world, record)
    world.accept(reminder("u", 2, UPDATED), reminder("d", 3, DELETED))
    assert published(world) == [("u", "notification:updated"), ("d", "notification:deleted")]
    world.accept(again(record))
    (message,) = world.published()
    assert (message.body["causationId"], message.body["eventType"]) == ("c", "notification:created")
    assert message.body["eventData"]["notificationData"]["message"] == "c"
    assert world.row()["deleted_at"] is not None
    assert world.outbox() == []


def test_a_fact_has_the_same_id_whenever_it_is_published(world: World) -> None:
    """The fact of an event applied twice, its row and items lost meanwhile, is recognisable by its id."""
    records = [reminder("c", 1, CREATED), reminder("u", 2, UPDATED), reminder("d", 3, DELETED)]
    world.accept(*records)
    first = [message.body for message in world.published()]
    world.query("TRUNCATE notifications, outbox")
    world.accept(*map(again, records))
    second = [message.body for message in world.published()]
    assert len(first) == len(records)
    assert sorted(first, key=str) == sorted(second, key=str)
    assert set(world.facts_stored()) == {body["id"] for body in first}


def test_several_events_of_one_item_left_behind_are_all_published(world: World) -> None:
    """Each event of one batch that could not publish finds its own fact at the retry, in one batch or apart."""
    records = [reminder("c", 1, CREATED), reminder("u", 2, UPDATED), reminder("d", 3, DELETED)]
    leave_behind(world, *records)
    world.accept(again(records[2]))
    world.accept(*map(again, records))
    facts = [("d", "notification:deleted"), ("c", "notification:created"), ("u", "notification:updated")]
    assert sorted(published(world)) == sorted(facts)
    assert world.outbox() == []


def test_nothing_is_acknowledged_without_its_backend(world: World) -> None:
    """Without PostgreSQL a reminder is not acknowledged; what does not need it is."""
    note = raw(text(legacy(itemId="N")), NOTE)
    bad = raw("{", NOTE)
    record = reminder("c", 1, CREATED)
    with world.without_notifications():
        answer = world.invoke([note, bad, record])
    assert answer.failed == {bad["messageId"], record["messageId"]}
    assert {item["pk"] for item in world.events().values()} == {"note#N", "reminder#R1"}


LATER_BATCHES = {
    "a reminder": lambda: sent(native(id="x", itemId="other")),
    "an event without effect": lambda: raw(text(legacy()), NOTE),
    "a malformed record": lambda: raw("{", NOTE),
}


@pytest.mark.parametrize("batch", LATER_BATCHES.values(), ids=LATER_BATCHES)
def test_a_fact_left_behind_for_15_minutes_is_taken_along(world: World, batch: object) -> None:
    """The first batch that comes more than 15 minutes after publishes it, whatever the batch holds."""
    leave_behind(world, reminder("c", 1, CREATED), reminder("other", 1, CREATED, "R2"))
    age_outbox(world, 15.1)
    assert callable(batch)
    world.invoke([batch()])
    facts = [(cause, kind) for cause, kind in published(world) if cause != "x"]
    assert sorted(facts) == [("c", "notification:created"), ("other", "notification:created")]
    assert world.outbox() == []
    assert {"c", "other"} <= {item["causationId"] for item in world.facts_stored().values()}
    world.invoke([batch()])
    assert world.published() == []


def test_a_younger_fact_is_left_to_its_redelivery(world: World) -> None:
    """Before 15 minutes have passed another batch leaves it where it is; its own record then publishes it once."""
    record = reminder("c", 1, CREATED)
    leave_behind(world, record)
    age_outbox(world, 14.5)
    world.accept(raw(text(legacy()), NOTE))
    assert world.published() == []
    assert len(world.outbox()) == 1
    world.accept(again(record))
    assert published(world) == [("c", "notification:created")]
    assert world.outbox() == []


def test_facts_left_behind_are_published_oldest_first(world: World) -> None:
    """Many facts left behind arrive in the order of their commits."""
    names = [f"e{number:02}" for number in range(25)]
    for name in names[::-1]:
        leave_one(world, name)
        age_outbox(world, 1)
    age_outbox(world, 15)
    world.accept(raw(text(legacy()), NOTE))
    assert [cause for cause, _ in published(world)] == names[::-1]
    assert world.outbox() == []


def leave_one(world: World, name: str) -> None:
    with world.without_topic():
        assert world.invoke([reminder(name, 1, CREATED, name)]).failed


def test_no_time_left_means_failed_and_not_lost(world: World) -> None:
    """At the deadline the records are answered as failed; the retry with time does everything once."""
    records = [reminder(f"e{number}", 1, CREATED, f"R{number}") for number in range(20)]
    answer = world.invoke(records, milliseconds_left=0)
    assert answer.failed == {record["messageId"] for record in records}
    world.accept(*map(again, records))
    assert len(world.rows()) == len(world.events()) == len(published(world)) == len(records)
    assert world.outbox() == []
