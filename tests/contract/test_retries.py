"""§5: what a try left undone, the next one does."""

from datetime import UTC, datetime

import pytest

from tests.contract.interrupted import leave_behind, published, reminder
from tests.support.messages import (
    ADDRESS,
    CREATED,
    DELETED,
    NOTE,
    PAYLOAD,
    UPDATED,
    again,
    legacy,
    native,
    raw,
    sent,
    text,
)
from tests.support.world import World


def test_an_event_stored_but_not_applied_is_applied_by_its_redelivery(world: World) -> None:
    """After a failure between the append and the change, the retry applies and publishes once."""
    record = reminder("c", 1, CREATED)
    with world.tables.without_notifications():
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
    with world.tables.without_notifications():
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
    """The retry's fact describes its own event, as decided then, although another event decides the row now."""
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
    world.tables.lose_rows()
    world.accept(*map(again, records))
    second = [message.body for message in world.published()]
    assert len(first) == len(records)
    assert sorted(first, key=str) == sorted(second, key=str)
    assert set(world.facts_stored()) == {body["id"] for body in first}


def test_nothing_is_acknowledged_without_its_backend(world: World) -> None:
    """Without PostgreSQL a reminder is not acknowledged; what does not need it is."""
    note = raw(text(legacy(itemId="N")), NOTE)
    bad = raw("{", NOTE)
    record = reminder("c", 1, CREATED)
    with world.tables.without_notifications():
        answer = world.invoke([note, bad, record])
    assert answer.failed == {bad["messageId"], record["messageId"]}
    assert {item["pk"] for item in world.events().values()} == {"note#N", "reminder#R1"}


@pytest.mark.parametrize("size", [2, 40])
def test_a_row_that_postgresql_refuses_fails_alone(world: World, size: int) -> None:
    """The other rows are applied, whatever the reason for the refusal, and the log does not show the row."""
    world.tables.refuse_rows_of("R1")
    records = [sent(native(id=f"e{number}", itemId=f"R{number}")) for number in range(size)]
    answer = world.invoke(records)
    assert answer.failed == {records[1]["messageId"]}
    assert len(world.rows()) == len(world.published()) == size - 1
    assert world.outbox() == []
    assert not any(secret in line for line in answer.lines for secret in (ADDRESS, PAYLOAD))
    world.tables.accept_all_rows()
    world.accept(*map(again, records))
    assert published(world) == [("e1", "notification:created")]


def test_no_time_left_means_failed_and_not_lost(world: World) -> None:
    """At the deadline the records are answered as failed; the retry with time does everything once."""
    records = [reminder(f"e{number}", 1, CREATED, f"R{number}") for number in range(20)]
    answer = world.invoke(records, milliseconds_left=0)
    assert answer.failed == {record["messageId"] for record in records}
    world.accept(*map(again, records))
    assert len(world.rows()) == len(world.events()) == len(published(world)) == len(records)
    assert world.outbox() == []
