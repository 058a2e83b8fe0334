"""The batches that the crash matrix disturbs."""

from dataclasses import dataclass, field
from typing import Any

from tests.support.messages import (
    CREATED,
    DELETED,
    REMINDER,
    UPDATED,
    Record,
    again,
    cloud_event,
    legacy,
    native,
    raw,
    reminder_data,
    wrapped,
)

NOTE = "note:added"
REFUSED_ITEM = "refused"  # see `lane.open_lane`


@dataclass
class Scenario:
    """A batch, what was delivered before it, and what may come between its two deliveries.

    `merged` was stored before it too, and applied by a rebuild, which makes no facts.
    `place` has, by event id, the item of each event and its second: of one item's events the later decide. `cold`:
    the function has no connection to PostgreSQL when the batch comes. `bad` can never be acknowledged, and neither can
    the record of `refused`, an event whose row PostgreSQL does not take.
    """

    cold: bool
    before: list[Record] = field(default_factory=list)
    merged: list[Record] = field(default_factory=list)
    batch: list[Record] = field(default_factory=list)
    newer: list[Record] = field(default_factory=list)
    bad: Record = field(default_factory=lambda: raw('{"userId": "user-a"', {"eventType": CREATED}))
    refused: str | None = None
    place: dict[str, tuple[str, int]] = field(default_factory=dict)
    records: dict[str, Record] = field(default_factory=dict)

    @property
    def hopeless(self) -> set[str]:
        """The message ids of the records that only the dead-letter queue can take."""
        refused = [self.records[self.refused]] if self.refused else []
        return {record["messageId"] for record in (self.bad, *refused)}

    def event(self, kind: str, item: str, second: int, **data: Any) -> Record:
        """Make a native event, named for its item and second."""
        name = f"{item}-{second}"
        self.place[name] = (item, second)
        body = native(
            id=name,
            occurredAt=f"2026-11-23T06:00:{second:02}.5Z",
            eventType=kind,
            itemId=item,
            eventData=reminder_data(**({"id": item, "message": name} | data)),
        )
        self.records[name] = raw(body) if second % 2 else wrapped(body)
        return self.records[name]


def mixed() -> Scenario:
    """More events than one request to DynamoDB takes and more facts than one to SNS, of every kind."""
    it = Scenario(cold=True)
    it.before = [it.event(CREATED, "known", 10), it.event(CREATED, "moved", 11), it.event(NOTE, "note-old", 1)]
    life = [it.event(CREATED, "life", 1), it.event(UPDATED, "life", 2), it.event(DELETED, "life", 3)]
    command = it.event("notification:create", "command", 4)
    legacy_event = wrapped(
        legacy(itemId="legacy", eventData=reminder_data(id="legacy")), REMINDER, MessageId="legacy-0"
    )
    it.place["legacy-0"] = ("legacy", 0)
    cloud = wrapped(cloud_event(subject="cloud"))
    it.place["/reminders 1"] = ("cloud", 0)
    it.batch = [
        it.before[0],  # stored, applied and published already
        it.before[2],  # stored already
        *life[::-1],
        it.event(UPDATED, "moved", 12),
        it.event(UPDATED, "moved", 5),  # late: stored only
        it.event(DELETED, "never", 6),  # leaves a tombstone and has no fact
        it.bad,
        command,
        again(command),
        legacy_event,
        cloud,
        it.event(CREATED, "odd \u2603 'quoted'", 7, url="https://example.org/?a=1&b=%20"),
        *(it.event(CREATED, f"new-{number}", 8) for number in range(5)),
        *(it.event(NOTE, f"note-{number}", 9) for number in range(12)),
    ]
    it.newer = [it.event(UPDATED, item, 30) for item in ("life", "moved", "command", "new-0")]
    return it


def large() -> Scenario:
    """A few events to a function that is warm; one is so large that its fact is stored before it is published."""
    it = Scenario(cold=False)
    it.before = [it.event(CREATED, "warm", 1)]
    it.batch = [
        it.event(CREATED, "large", 2, message="long " * 13_500),
        it.event(UPDATED, "large", 3),
        it.bad,
        it.event(NOTE, "note", 4),
    ]
    it.newer = [it.event(UPDATED, "large", 30)]
    return it


def refused() -> Scenario:
    """A refused row, because of which the statement is split; an item's newer event precedes its older one."""
    it = Scenario(cold=False)
    it.before = [it.event(CREATED, "warm", 1)]
    it.batch = [
        it.event(UPDATED, "pair", 9),
        it.event(CREATED, REFUSED_ITEM, 5),
        it.bad,
        it.event(NOTE, "note", 4),
        it.event(CREATED, "other", 6),
        it.event(CREATED, "pair", 1),
    ]
    it.refused = f"{REFUSED_ITEM}-5"
    it.newer = [it.event(UPDATED, "pair", 30)]
    return it


def merged() -> Scenario:
    """Events that a rebuild applied after their batch had died: they get their facts when they are redelivered."""
    it = Scenario(cold=False)
    it.before = [it.event(CREATED, "told", 1)]
    it.merged = [it.event(CREATED, "untold", 2), it.event(DELETED, "told", 3)]
    it.batch = [*it.merged, it.bad]
    it.newer = [it.event(UPDATED, "untold", 30)]
    return it


def later_batch() -> list[Record]:
    """A batch of one event that is stored only."""
    return [raw(native(id="later", occurredAt="2026-11-23T07:00:00Z", eventType=NOTE, itemId="later", eventData={}))]


SCENARIOS = {"mixed": mixed(), "large": large(), "refused": refused(), "merged": merged()}
