"""§5: orphaned facts, whose records never come back, are published by a later batch."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from event_service.adapters.event_store import Appended, EventStore
from event_service.deadline import Deadline
from event_service.domain.event import Event
from event_service.errors import RecordError, Unavailable
from tests.contract.interrupted import leave_behind, published, reminder
from tests.support.messages import (
    CREATED,
    DELETED,
    NOTE,
    UPDATED,
    again,
    legacy,
    native,
    noise,
    raw,
    reminder_data,
    sent,
    text,
)
from tests.support.world import World


def test_an_outbox_row_says_when_it_was_committed(world: World) -> None:
    """Its one `timestamptz` is the time of the commit."""
    leave_behind(world, reminder("c", 1, CREATED))
    (row,) = world.outbox()
    assert abs(row[world.tables.committed_column()] - datetime.now(UTC)) < timedelta(minutes=1)


def test_several_events_of_one_item_left_behind_are_all_published(world: World) -> None:
    """Each event of one batch that could not publish finds its own fact at the retry, in one batch or apart."""
    records = [reminder("c", 1, CREATED), reminder("u", 2, UPDATED), reminder("d", 3, DELETED)]
    leave_behind(world, *records)
    world.accept(again(records[2]))
    world.accept(*map(again, records))
    facts = [("d", "notification:deleted"), ("c", "notification:created"), ("u", "notification:updated")]
    assert sorted(published(world)) == sorted(facts)
    assert world.outbox() == []


LATER_BATCHES = {
    "a reminder": lambda: sent(native(id="x", itemId="other")),
    "an event without effect": lambda: raw(text(legacy()), NOTE),
    "a malformed record": lambda: raw("{", NOTE),
}


@pytest.mark.parametrize("batch", LATER_BATCHES.values(), ids=LATER_BATCHES)
def test_a_fact_left_behind_for_15_minutes_is_taken_along(world: World, batch: object) -> None:
    """The first batch that comes more than 15 minutes after publishes it, whatever the batch holds."""
    leave_behind(world, reminder("c", 1, CREATED), reminder("other", 1, CREATED, "R2"))
    world.tables.age_outbox(15.1)
    assert callable(batch)
    world.invoke([batch()])
    facts = [(cause, kind) for cause, kind in published(world) if cause != "x"]
    assert sorted(facts) == [("c", "notification:created"), ("other", "notification:created")]
    assert world.outbox() == []
    assert {"c", "other"} <= {item["causationId"] for item in world.facts_stored().values()}
    world.invoke([batch()])
    assert world.published() == []


def test_a_redelivery_after_15_minutes_publishes_its_fact_once(world: World) -> None:
    """A batch that brings back the record of an old fact itself does not publish the fact twice."""
    records = [reminder("c", 1, CREATED), reminder("u", 2, UPDATED), reminder("other", 1, CREATED, "R2")]
    leave_behind(world, *records)
    world.tables.age_outbox(20)
    world.accept(again(records[0]), raw(text(legacy()), NOTE))
    facts = [("c", "notification:created"), ("u", "notification:updated"), ("other", "notification:created")]
    assert sorted(published(world)) == sorted(facts)
    world.accept(*map(again, records))
    assert world.published() == []
    assert world.outbox() == []


def test_orphaned_facts_that_fail_again_fail_no_record_and_are_not_lost(world: World) -> None:
    """A later batch that cannot publish them either succeeds nevertheless, and another batch publishes them."""
    leave_behind(world, reminder("c", 1, CREATED))
    world.tables.age_outbox(20)
    with world.without_topic():
        world.accept(raw(text(legacy()), NOTE))
    assert len(world.outbox()) == 1
    world.tables.age_outbox(20)
    world.accept(raw(text(legacy()), NOTE))
    assert published(world) == [("c", "notification:created")]
    assert world.outbox() == []


def test_a_younger_fact_is_left_to_its_redelivery(world: World) -> None:
    """Before 15 minutes have passed another batch leaves it where it is; its own record then publishes it once."""
    record = reminder("c", 1, CREATED)
    leave_behind(world, record)
    world.tables.age_outbox(14.5)
    world.accept(raw(text(legacy()), NOTE))
    assert world.published() == []
    assert len(world.outbox()) == 1
    world.accept(again(record))
    assert published(world) == [("c", "notification:created")]
    assert world.outbox() == []


def test_facts_left_behind_are_published_oldest_first(world: World) -> None:
    """Many orphaned facts arrive in the order of their commits."""
    names = [f"e{number:02}" for number in range(15)]
    for name in names[::-1]:
        leave_one(world, name)
        world.tables.age_outbox(1)
    world.tables.age_outbox(15)
    world.accept(raw(text(legacy()), NOTE))
    assert [cause for cause, _ in published(world)] == names[::-1]
    assert world.outbox() == []


def test_as_many_facts_left_behind_are_taken_as_time_allows(world: World) -> None:
    """With enough time, one batch publishes them all; with none, it publishes none, and no record fails for it."""
    count = 150
    leave_behind(world, *(reminder(f"e{number}", 1, CREATED, f"R{number}") for number in range(count)))
    world.tables.age_outbox(15.1)
    world.invoke([raw("{", NOTE)], milliseconds_left=0)
    assert len(world.outbox()) == count
    world.accept(raw(text(legacy()), NOTE))
    assert len(published(world)) == count
    assert world.outbox() == []


def leave_one(world: World, name: str) -> None:
    with world.without_topic():
        assert world.invoke([reminder(name, 1, CREATED, name)]).failed


def test_a_batch_that_fails_leaves_orphaned_facts_to_others(world: World) -> None:
    """What keeps its own facts from getting out would keep those, and hide them for another 15 minutes."""
    leave_behind(world, reminder("c", 1, CREATED))
    world.tables.age_outbox(16)
    with world.without_topic():
        answer = world.invoke([reminder("x", 1, CREATED, "other")])
    assert not any("orphaned" in line for line in answer.lines)
    world.accept(raw(native(id="n", eventType="note:added", itemId="n")))
    assert published(world) == [("c", "notification:created")]


def test_facts_taken_along_in_an_early_turn_of_a_batch_are_published_after_the_last(world: World) -> None:
    """Records that were delivered more often come in a later turn."""
    leave_behind(world, reminder("c", 1, CREATED))
    world.tables.age_outbox(16)
    fresh, second = (raw(native(id=name, eventType="note:added", itemId=name)) for name in "ab")
    second["attributes"] = second["attributes"] | {"ApproximateReceiveCount": "2"}
    world.accept(fresh, second)
    assert published(world) == [("c", "notification:created")]


def test_a_truncated_fact_is_published_only_once_the_whole_is_stored(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may come back through the queue, to be compared with the whole."""
    append = EventStore.append

    def failing(store: EventStore, events: Sequence[Event], deadline: Deadline) -> list[Appended | RecordError]:
        if any(event.is_fact for event in events):
            return [Unavailable("event_store", "down")] * len(events)
        return append(store, events, deadline)

    record = raw(native(eventData=reminder_data(message=noise(300_000))))
    with monkeypatch.context() as patch:
        patch.setattr(EventStore, "append", failing)
        assert world.invoke([record]).failed == {record["messageId"]}
    assert world.published() == []
    world.accept(again(record))
    assert len(published(world)) == 1
