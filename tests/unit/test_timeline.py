"""The state of an item, and the changes that each of its events made."""

from typing import Any

import pytest

from event_service.codec.instants import Instant
from event_service.domain.event import FACT_TYPES
from event_service.domain.state import StoredEvent, concerns, differences, diffs, related_item_types, state_at


def record(
    event_type: str, second: int, *, name: str = "e", user: str = "user-a", data: str = "{}", **other: Any
) -> StoredEvent:
    """An event `second` seconds after noon."""
    at = f"2026-11-23T12:00:{second:02}.000000Z"
    fields = {"user_email": None, "recorded_at": at, "causation_id": None}
    return StoredEvent(
        id=name,
        event_type=event_type,
        item_type=event_type.partition(":")[0],
        item_id="item",
        user_id=user,
        occurred_at=Instant(at),
        data=data,
        is_fact=event_type in FACT_TYPES,
        **{**fields, **other},
    )


def upsert(second: int, **fields: Any) -> StoredEvent:
    return record("reminder:updated", second, **fields)


def delete(second: int, **fields: Any) -> StoredEvent:
    return record("reminder:deleted", second, **fields)


def noted(second: int, **fields: Any) -> StoredEvent:
    """An event without an effect, of an item type that other events have an effect on."""
    return record("reminder:seen", second, **fields)


def other(second: int, verb: str = "paid", **fields: Any) -> StoredEvent:
    """An event of an item type that the service does not know."""
    return record(f"parcel:{verb}", second, **fields)


@pytest.mark.parametrize(
    ("newest_first", "index"),
    [
        ([upsert(3), upsert(2)], 0),
        ([delete(3), upsert(2)], 0),
        ([noted(4), upsert(3), upsert(2)], 1),  # what has no effect makes no state
        ([upsert(3, name="b"), upsert(3, name="a")], 0),
        ([upsert(3, name="a"), upsert(3, name="b")], 1),
        ([record("reminder:created", 3, name="b"), upsert(3, name="a")], 1),  # then an update decides over a creation
        ([record("notification:create", 3, name="b"), upsert(3, name="a")], 1),
        ([record("notification:update", 3, name="a"), record("reminder:created", 3, name="b")], 0),
        ([record("notification:update", 3), upsert(3)], 1),  # then the greatest partition key
        ([record("notification:delete", 3, name="a"), upsert(3, name="b")], 0),
        ([upsert(3, name="b"), delete(3, name="a"), upsert(2)], 1),  # at the same instant a deletion decides
        ([delete(3, name="a"), delete(3, name="b")], 1),
        ([other(3), other(2)], 0),
        ([other(3, "deleted"), other(2)], 0),
        ([other(3), other(2, "delete")], 0),  # its last event says that it exists again
        ([other(3, name="b"), other(3, "deleted", name="a"), other(2)], 1),
    ],
)
def test_the_latest_event_with_an_effect_decides(newest_first: list[StoredEvent], index: int) -> None:
    """If no event of the item type has an effect, the last event decides."""
    assert state_at(newest_first) is newest_first[index]


def test_deletions_are_recognised_for_every_item_type() -> None:
    """For item types that the service does not know, by the last word; `reminder:delete` is not a known type."""
    types = [
        "com.example.parcel.deleted",
        "reminder:deleted",
        "parcel:deleted",
        "parcel:delete",
        "notification:deleted",
        "notification:delete",
    ]
    assert [record(each, 1).effect for each in types] == ["delete"] * 6
    assert [record(each, 1).effect for each in ("reminder:delete", "parcel:paid", "deleted:paid")] == [None] * 3


def test_a_reminder_has_the_events_of_its_commands() -> None:
    """The commands that address it are stored under `notification`; nothing else stored there concerns it."""
    assert related_item_types("reminder") == ["reminder", "notification"]
    assert related_item_types("notification") == ["notification", "reminder"]
    assert related_item_types("parcel") == ["parcel"]
    types = ["reminder:seen", "notification:create", "notification:delete", "notification:created", "notification:seen"]
    assert [concerns(record(each, 1), "reminder") for each in types] == [True, True, True, False, False]


def test_an_item_without_events_has_no_state() -> None:
    """Nor has one with only other users' events, or only events without effect."""
    assert state_at([]) is None
    assert state_at([upsert(1, user="user-b")], "user-a") is None
    assert state_at([noted(3), noted(2)]) is None
    assert state_at([noted(4, user="user-b"), upsert(3, user="user-a")], "user-b") is None


def test_facts_of_one_instant_are_ordered_by_the_ids_of_their_causes() -> None:
    """The row followed the causes; the ids of facts say nothing about the order."""
    first = record("notification:updated", 3, name="z", causation_id="a")
    last = record("notification:updated", 3, name="y", causation_id="b")
    assert state_at([first, last]) is last


def test_facts_whose_causes_share_an_id_are_ordered_by_the_streams_of_their_causes() -> None:
    """An event of the reminder and a command may have the same id."""
    facts = [
        record(
            "notification:updated", 3, name=name, causation_id="a", data=f'{{"itemType": "{item_type}", "itemId": "i"}}'
        )
        for name, item_type in (("z", "notification"), ("y", "reminder"))
    ]
    assert state_at(facts) is state_at(facts[::-1]) is facts[1]


def test_each_user_has_their_own_state_of_an_item() -> None:
    """Without a user, the user of the latest event counts."""
    newest_first = [upsert(3, user="user-b"), delete(2, user="user-a")]
    assert state_at(newest_first) is newest_first[0]
    assert state_at(newest_first, "user-a") is newest_first[1]


def test_only_the_events_that_a_state_needs_are_read() -> None:
    """The stream may be long."""
    read = []

    def stream() -> Any:
        for second in (9, 8, 7, 6):
            read.append(second)
            yield upsert(second)

    assert state_at(stream()) == upsert(9)
    assert read == [9, 8]


def changes(old: StoredEvent | None, new: StoredEvent | None) -> list[tuple[str, str | None, str | None]]:
    return [(change.field, change.old, change.new) for change in differences(old, new)]


def test_values_are_compared_not_their_texts() -> None:
    """A number can be written in several ways, and an object in any order."""
    old = upsert(1, data='{"same": 1.50, "object": {"a": 1, "b": 2}, "gone": null, "new value": [1]}')
    new = upsert(2, data='{"object": {"b": 2, "a": 1}, "same": 15e-1, "new value": [2], "come": ""}')
    assert changes(old, new) == [("gone", "null", None), ("new value", "[1]", "[2]"), ("come", None, '""')]


def test_a_new_email_address_is_a_change() -> None:
    """The notification has it, as it has the data."""
    assert changes(upsert(1, user_email="a@x"), upsert(2, user_email="b@x")) == [("userEmail", '"a@x"', '"b@x"')]
    assert changes(upsert(1), upsert(2, user_email="b@x")) == [("userEmail", None, '"b@x"')]


def test_a_deleted_item_has_no_fields() -> None:
    """The data in the deletion does not count. An item without a state has no fields either."""
    one, gone = upsert(1, data='{"a": 1}'), delete(2, data='{"a": 1}')
    assert changes(one, gone) == [("a", "1", None)]
    assert changes(gone, one) == changes(None, one) == [("a", None, "1")]
    assert changes(None, gone) == changes(None, None) == []


def test_a_change_distinguishes_null_from_absent() -> None:
    """And it keeps every digit."""
    one, two = upsert(1, data='{"a": 1.10}'), upsert(2, data='{"ä": null}')
    assert [change.to_json() for change in differences(one, two)] == [
        '{"field":"a","old":1.10}',
        '{"field":"ä","new":null}',
    ]


def test_a_timeline_compares_each_event_with_the_previous_one_of_its_user() -> None:
    """Events without an effect are compared within their type; at one instant, a deletion is the last."""
    stream = [
        upsert(1, data='{"n": 1}'),
        upsert(2, data='{"n": 7}', user="user-b"),
        noted(3, data='{"by": "x"}'),
        upsert(4, data='{"n": 2}'),
        noted(5, data='{"by": "y"}'),
        delete(6, name="a", data="{}"),
        upsert(6, name="b", data='{"n": 3}'),
        upsert(7, data='{"n": 4}'),
    ]
    told = [[(each.field, each.old, each.new) for each in changed] for _, changed in diffs(stream)]
    assert told == [
        [("n", None, "1")],
        [("n", None, "7")],
        [("by", None, '"x"')],
        [("n", "1", "2")],
        [("by", '"x"', '"y"')],
        [("n", "2", "3")],
        [("n", "3", None)],
        [("n", None, "4")],
    ]


def test_a_timeline_of_facts_of_one_instant_follows_their_causes() -> None:
    """Their own ids say nothing about the order."""
    stream = [
        record("notification:updated", 3, name="a", causation_id="z", data='{"n": 2}'),
        record("notification:created", 3, name="b", causation_id="y", data='{"n": 1}'),
    ]
    assert [each.id for each, _ in diffs(stream)] == ["b", "a"]


def test_a_timeline_of_an_unknown_item_type_shows_deletions() -> None:
    """Each event is compared with the previous one, whatever its type."""
    stream = [
        other(1, "made", data='{"n": 1}'),
        other(2, data='{"n": 2}'),
        other(3, "deleted", data='{"n": 2}'),
        other(4, "made", data='{"n": 3}'),
    ]
    told = [[(each.field, each.old, each.new) for each in changed] for _, changed in diffs(stream)]
    assert told == [[("n", None, "1")], [("n", "1", "2")], [("n", "2", None)], [("n", None, "3")]]
