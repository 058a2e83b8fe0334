"""§2: what a date may be, and how an event comes to its id and its time."""

import uuid
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.contract.refusals import refused
from tests.support.messages import (
    NOTE,
    REMINDER,
    Record,
    again,
    cloud_event,
    legacy,
    native,
    raw,
    reminder_data,
    sent,
    text,
    wrapped,
)
from tests.support.world import World

USABLE = {
    "2026-11-23T07:54:00.000Z": datetime(2026, 11, 23, 7, 54, tzinfo=UTC),
    "2026-11-23t07:54:00z": datetime(2026, 11, 23, 7, 54, tzinfo=UTC),
    "2026-11-23T07:54:00-00:00": datetime(2026, 11, 23, 7, 54, tzinfo=UTC),
    "2026-11-23T07:54:00+05:30": datetime(2026, 11, 23, 2, 24, tzinfo=UTC),
    "2026-11-23T07:54:00-23:59": datetime(2026, 11, 24, 7, 53, tzinfo=UTC),
    "2026-11-23T07:54:00+23:59": datetime(2026, 11, 22, 7, 55, tzinfo=UTC),
    "2026-11-23T07:54:00.1Z": datetime(2026, 11, 23, 7, 54, 0, 100_000, tzinfo=UTC),
    "2026-11-23T07:54:00.1234569Z": datetime(2026, 11, 23, 7, 54, 0, 123_456, tzinfo=UTC),
    "2026-11-23T07:54:00.9999999999999999999999Z": datetime(2026, 11, 23, 7, 54, 0, 999_999, tzinfo=UTC),
    "2024-02-29T00:00:00Z": datetime(2024, 2, 29, tzinfo=UTC),
    "0001-01-01T00:00:00Z": datetime(1, 1, 1, tzinfo=UTC),
    "0001-01-01T00:00:00-01:00": datetime(1, 1, 1, 1, tzinfo=UTC),
    "0000-12-31T23:30:00-01:00": datetime(1, 1, 1, 0, 30, tzinfo=UTC),
    "9999-12-31T23:59:59.999999Z": datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    "9999-12-31T23:59:59.9999999Z": datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
}
UNUSABLE: list[Any] = [
    None,
    1795417156749,
    True,
    {},
    "",
    "soon",
    "2026-11-23",
    "2026-11-23T07:54:00",
    "2026-11-23T07:54Z",
    "2026-11-23T07Z",
    "2026-11-23T07:54:00.Z",
    "2026-11-23T07:54:00,5Z",
    "2026-11-23T07:54:00+0100",
    "2026-11-23T07:54:00+01",
    "2026-11-23T07:54:00+24:00",
    "2026-11-23T07:54:00+01:60",
    "2026-11-23T24:00:00Z",
    "2026-11-23T23:60:00Z",
    "2026-11-23T23:59:61Z",
    "2026-13-01T00:00:00Z",
    "2026-00-10T00:00:00Z",
    "2026-02-29T00:00:00Z",
    "2026-11-00T00:00:00Z",
    "2026-11-23T07:54:00Z\n",
    " 2026-11-23T07:54:00Z",
    "20261123T075400Z",
    "2026-W48-1T07:54:00Z",
    "２０２６-11-23T07:54:00Z",
    "2026-11-23T07:54:00.٣Z",
    "+060000-01-01T00:00:00.000Z",
    "-000001-01-01T00:00:00.000Z",
    "12026-11-23T07:54:00Z",
    "0000-06-01T00:00:00Z",
    "0001-01-01T00:00:00+00:01",
    "9999-12-31T23:59:59-00:01",
]


def test_a_usable_date_becomes_deliver_at_to_the_microsecond(world: World) -> None:
    """Any RFC 3339 offset counts, years 1 to 9999 in UTC, and digits beyond microseconds are truncated."""
    cases = {date: sent(native(id=date, itemId=date, eventData=reminder_data(date=date))) for date in USABLE}
    assert refused(world, cases) == {}
    rows = {row["item_id"]: row["deliver_at"] for row in world.rows().values()}
    assert {date: rows[date] for date in USABLE} == USABLE


@pytest.mark.parametrize(
    ("kind", "item_type"), [("reminder:updated", "reminder"), ("notification:create", "notification")]
)
def test_a_required_date_that_is_unusable_is_refused(world: World, kind: str, item_type: str) -> None:
    """Anything but an RFC 3339 date-time in the years 1 to 9999 is rejected, and the error names the field."""
    dates = [..., *UNUSABLE]
    cases = {
        str(date): sent(
            native(eventType=kind, itemType=item_type, itemId=str(index), eventData=reminder_data(date=date))
        )
        for index, date in enumerate(dates)
    }
    assert refused(world, cases) == {str(date): "eventData.date" for date in dates}


def test_a_leap_second_is_an_instant(world: World) -> None:
    """RFC 3339 has leap seconds, in any offset: such a date is not refused."""
    dates = ["2016-12-31T23:59:60Z", "1990-12-31T15:59:60-08:00"]
    cases = {date: sent(native(id=date, itemId=date, eventData=reminder_data(date=date))) for date in dates}
    assert refused(world, cases) == {}
    rows = {row["item_id"]: row["deliver_at"] for row in world.rows().values()}
    for date, year in zip(dates, (2017, 1991), strict=True):
        new_year = datetime(year, 1, 1, tzinfo=UTC)
        assert abs((rows[date] - new_year).total_seconds()) <= 1


def test_a_deletion_needs_no_date(world: World) -> None:
    """A deletion with an unusable date, or with empty data, is applied; its row has no time of delivery."""
    kinds = {"eventType": "reminder:deleted", "itemType": "reminder"}
    cases = {
        str(index): sent(native(id=f"e{index}", itemId=f"e{index}", eventData=data, **kinds))
        for index, data in enumerate([{}, *({"date": date} for date in UNUSABLE)])
    }
    assert refused(world, cases) == {}
    rows = [row for row in world.rows().values() if row["item_id"].startswith("e")]
    assert len(rows) == len(cases)
    assert {row["deliver_at"] for row in rows} == {None}
    assert None not in {row["deleted_at"] for row in rows}


def test_an_events_own_time_is_kept_in_utc_with_microseconds(world: World) -> None:
    """`occurredAt` is written in one fixed width, whatever its offset and precision were."""
    times = {
        "2026-11-23T06:54:06.41Z": "2026-11-23T06:54:06.410000Z",
        "2026-11-23T00:54:06+05:30": "2026-11-22T19:24:06.000000Z",
        "2026-11-23t06:54:06.1234567z": "2026-11-23T06:54:06.123456Z",
        "0999-01-01T00:00:00Z": "0999-01-01T00:00:00.000000Z",
    }
    world.accept(*(sent(native(id=own, itemId=own, occurredAt=own)) for own in times))
    items = {item["id"]: (item["occurredAt"], item["sk"]) for item in world.events().values()}
    assert items == {own: (utc, f"{utc}#{own}") for own, utc in times.items()}


UPDATED = "2026-11-23T06:00:00.000Z"
LATER = "2026-11-23T07:00:00.000Z"
EARLIER = "2026-11-23T05:00:00.000Z"
DELETED = {"eventType": "reminder:deleted", "eventItemType": "reminder"}
LATE_UPDATE = reminder_data(updatedAt="+060000-01-01T00:00:00.000Z")
TIMES: dict[str, tuple[Record, str]] = {
    "a known type's updatedAt": (wrapped(text(legacy(itemId="1")), REMINDER, Timestamp=LATER), UPDATED),
    "at most the envelope's time": (wrapped(text(legacy(itemId="2")), REMINDER, Timestamp=EARLIER), EARLIER),
    "raw": (raw(text(legacy(itemId="3")), REMINDER, sent=LATER), UPDATED),
    "unusable": (wrapped(text(legacy(itemId="4", eventData=LATE_UPDATE)), REMINDER, Timestamp=LATER), LATER),
    "a number": (raw(text(legacy(itemId="5", eventData=reminder_data(updatedAt=1))), REMINDER, sent=LATER), LATER),
    "absent": (raw(text(legacy(itemId="6", eventData=reminder_data(updatedAt=...))), REMINDER, sent=LATER), LATER),
    "deletion, envelope later": (wrapped(text(legacy(itemId="7")), DELETED, Timestamp=LATER), LATER),
    "deletion, envelope earlier": (wrapped(text(legacy(itemId="8")), DELETED, Timestamp=EARLIER), EARLIER),
    "deletion, raw": (raw(text(legacy(itemId="9")), DELETED, sent=LATER), LATER),
    "deletion, no updatedAt": (raw(text(legacy(itemId="10", eventData={})), DELETED, sent=EARLIER), EARLIER),
    "another type, SNS": (wrapped(text(legacy(itemId="11")), NOTE, Timestamp=LATER), LATER),
    "another type, SQS": (raw(text(legacy(itemId="12")), NOTE, sent=LATER), LATER),
    "its own": (wrapped(text(native(itemId="13", occurredAt=EARLIER)), Timestamp=LATER), EARLIER),
    "a CloudEvent's": (wrapped(text(cloud_event(subject="14", time=EARLIER)), Timestamp=LATER), EARLIER),
    "no id": (wrapped(text(native(itemId="15", id=..., occurredAt=EARLIER)), Timestamp=LATER), EARLIER),
}


def test_an_event_takes_its_time_from_the_first_source_that_has_it(world: World) -> None:
    """Its own, else the `updatedAt` of a known type that is not a deletion, else the envelope's."""
    world.accept(*(record for record, _ in TIMES.values()))
    items = {item["pk"].partition("#")[2]: item["occurredAt"] for item in world.events().values()}
    found = {name: items[str(number)] for number, name in enumerate(TIMES, start=1)}
    assert found == {name: expected.replace("Z", "000Z") for name, (_, expected) in TIMES.items()}


def test_an_event_takes_its_id_from_the_first_source_that_has_it(world: World) -> None:
    """Its own, else the SNS MessageId, else a UUIDv5 that another SQS id and another time do not change."""
    notes = raw(text(legacy(itemId="raw")), NOTE)
    redriven = again(notes) | {"attributes": notes["attributes"] | {"ApproximateReceiveCount": "7"}}
    other_type = raw(text(legacy(itemId="raw")), {"eventType": "note:removed", "eventItemType": "note"})
    other_body = raw(text(legacy(itemId="raw", extra=1)), NOTE)
    world.accept(
        sent(native(id="own", itemId="own")),
        wrapped(text(legacy(itemId="wrapped")), REMINDER, MessageId="sns-id"),
        sent(cloud_event(id="a/b", source="https://x.example/y", subject="cloud")),
        notes,
        redriven,
        other_type,
        other_body,
    )
    items = world.events().values()
    ids = {item["pk"].partition("#")[2]: item["id"] for item in items if item["pk"] != "note#raw"}
    assert ids == {"own": "own", "wrapped": "sns-id", "cloud": "https://x.example/y a/b"}
    computed = {uuid.UUID(item["id"]) for item in items if item["pk"] == "note#raw"}
    assert len(computed) == 3
    assert {each.version for each in computed} == {5}
