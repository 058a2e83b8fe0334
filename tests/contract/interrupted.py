"""Reminders whose processing is cut off halfway, as by a crash, and the outbox that remembers their facts."""

from tests.support.formats import native_raw
from tests.support.messages import Record, reminder_data, text
from tests.support.oracle import Event
from tests.support.world import World


def reminder(name: str, second: int, kind: str, item: str = "R1") -> Record:
    """A native event of one reminder at the given second."""
    data = reminder_data(message=name)
    return native_raw(Event(name, f"2026-11-23T06:00:{second:02}.000000Z", kind, item, "user-a", text(data)))


def published(world: World) -> list[tuple[str, str]]:
    """The causes and kinds of the facts that arrived since the last call."""
    return [(message.body["causationId"], message.body["eventType"]) for message in world.published()]


def leave_behind(world: World, *records: Record) -> None:
    """Apply events without publishing their facts, as a crash between the two would."""
    with world.without_topic():
        answer = world.invoke(records)
    assert answer.failed == {record["messageId"] for record in records}
    assert len(world.outbox()) == len(records)
    assert world.published() == []
