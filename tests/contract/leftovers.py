"""Reminders whose way is cut off half-way, as a crash would, and the outbox that remembers their facts."""

from .cases import reminder_data
from .oracle import Event
from .records import Record, native_raw, text
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
