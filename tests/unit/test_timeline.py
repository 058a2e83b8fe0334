"""What an item's events tell: its state, and what each of them changed."""

from typing import Any

import pytest

from event_service.domain.state import Record, deciding, differences, with_changes


def record(
    event_type: str, second: int, *, name: str = "e", user: str = "user-a", data: str = "{}", **other: Any
) -> Record:
    """An event `second` seconds after noon."""
    at = f"2026-11-23T12:00:{second:02}.000000Z"
    fields = {"pk": f"{event_type.partition(':')[0]}#item", "user_email": None, "recorded_at": at, "causation_id": None}
    return Record(
        sk=f"{at}#{name}",
        id=name,
        event_type=event_type,
        user_id=user,
        occurred_at=at,
        data=data,
        **{**fields, **other},
    )


def upsert(second: int, **fields: Any) -> Record:
    return record("reminder:updated", second, **fields)


def delete(second: int, **fields: Any) -> Record:
    return record("reminder:deleted", second, **fields)


def noted(second: int, **fields: Any) -> Record:
    """An event of an item type that events have an effect on, without one itself."""
    return record("reminder:seen", second, **fields)


def other(second: int, verb: str = "paid", **fields: Any) -> Record:
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
        ([upsert(3, name="b"), delete(3, name="a"), upsert(2)], 1),  # at the same instant a deletion decides
        ([delete(3, name="a"), delete(3, name="b")], 1),
        ([other(3), other(2)], 0),
        ([other(3, "deleted"), other(2)], 0),
        ([other(3), other(2, "delete")], 0),  # it goes on: as its last event says
        ([other(3, name="b"), other(3, "deleted", name="a"), other(2)], 1),
    ],
)
def test_the_latest_event_with_an_effect_decides(newest_first: list[Record], index: int) -> None:
    """Of an item of a type of which none has one, the last is the state."""
    assert deciding(newest_first) is newest_first[index]


def test_a_deletion_is_one_of_whatever_type() -> None:
    """Of types the service does not know, by the verb; `reminder:delete` is not a known type."""
    types = ["reminder:deleted", "parcel:deleted", "parcel:delete", "notification:deleted", "notification:delete"]
    assert [record(each, 1).effect for each in types] == ["delete"] * 5
    assert [record(each, 1).effect for each in ("reminder:delete", "parcel:paid", "deleted:paid")] == [None] * 3


def test_nothing_decides_where_nothing_is_known() -> None:
    """Of the item, or of this user's item."""
    assert deciding([]) is None
    assert deciding([upsert(1, user="user-b")], "user-a") is None
    assert deciding([noted(3), noted(2)]) is None
    assert deciding([noted(4, user="user-b"), upsert(3, user="user-a")], "user-b") is None


def test_of_facts_of_one_instant_that_of_the_deciding_event_decides() -> None:
    """Their own ids say nothing about the order: the row of the notification has followed their causes."""
    first = record("notification:updated", 3, name="z", causation_id="a")
    last = record("notification:updated", 3, name="y", causation_id="b")
    assert deciding([first, last]) is last


def test_of_facts_whose_causes_have_one_id_that_of_the_greater_stream_decides() -> None:
    """As for the row: a reminder's event and a command may be called the same."""
    facts = [
        record(
            "notification:updated", 3, name=name, causation_id="a", data=f'{{"itemType": "{item_type}", "itemId": "i"}}'
        )
        for name, item_type in (("z", "notification"), ("y", "reminder"))
    ]
    assert deciding(facts) is deciding(facts[::-1]) is facts[1]


def test_each_user_has_a_state_of_their_own() -> None:
    """Without a user, it is that of the last."""
    newest_first = [upsert(3, user="user-b"), delete(2, user="user-a")]
    assert deciding(newest_first) is newest_first[0]
    assert deciding(newest_first, "user-a") is newest_first[1]


def test_an_items_events_are_read_no_further_than_its_state_needs() -> None:
    """The stream may be long."""
    read = []

    def stream() -> Any:
        for second in (9, 8, 7, 6):
            read.append(second)
            yield upsert(second)

    assert deciding(stream()) == upsert(9)
    assert read == [9, 8]


def changes(old: Record | None, new: Record | None) -> list[tuple[str, str | None, str | None]]:
    return [(change.field, change.old, change.new) for change in differences(old, new)]


def test_differences_are_those_of_values_not_of_texts() -> None:
    """A number is the same however it is written, and an object in whatever order."""
    old = upsert(1, data='{"same": 1.50, "object": {"a": 1, "b": 2}, "gone": null, "new value": [1]}')
    new = upsert(2, data='{"object": {"b": 2, "a": 1}, "same": 15e-1, "new value": [2], "come": ""}')
    assert changes(old, new) == [("gone", "null", None), ("new value", "[1]", "[2]"), ("come", None, '""')]


def test_another_address_is_a_change() -> None:
    """It goes to the notification, as the data does."""
    assert changes(upsert(1, user_email="a@x"), upsert(2, user_email="b@x")) == [("userEmail", '"a@x"', '"b@x"')]
    assert changes(upsert(1), upsert(2, user_email="b@x")) == [("userEmail", None, '"b@x"')]


def test_a_deleted_item_has_no_fields() -> None:
    """Whatever the deletion brought with it, and so has one that is not known."""
    one, gone = upsert(1, data='{"a": 1}'), delete(2, data='{"a": 1}')
    assert changes(one, gone) == [("a", "1", None)]
    assert changes(gone, one) == changes(None, one) == [("a", None, "1")]
    assert changes(None, gone) == changes(None, None) == []


def test_a_change_is_shown_exactly() -> None:
    """Absent is not null."""
    one, two = upsert(1, data='{"a": 1.10}'), upsert(2, data='{"ä": null}')
    assert [change.to_json() for change in differences(one, two)] == [
        '{"field":"a","old":1.10}',
        '{"field":"ä","new":null}',
    ]


def test_a_timeline_compares_each_event_with_the_one_before_of_its_user() -> None:
    """Events without an effect with those of their own type; at one instant a deletion is the last."""
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
    told = [[(each.field, each.old, each.new) for each in changed] for _, changed in with_changes(stream)]
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
    """Not their ids, which say nothing."""
    stream = [
        record("notification:updated", 3, name="a", causation_id="z", data='{"n": 2}'),
        record("notification:created", 3, name="b", causation_id="y", data='{"n": 1}'),
    ]
    assert [each.id for each, _ in with_changes(stream)] == ["b", "a"]


def test_the_timeline_of_an_unknown_type_includes_deletions() -> None:
    """Each event is compared with the one before, of whatever type, as its states are."""
    stream = [
        other(1, "made", data='{"n": 1}'),
        other(2, data='{"n": 2}'),
        other(3, "deleted", data='{"n": 2}'),
        other(4, "made", data='{"n": 3}'),
    ]
    told = [[(each.field, each.old, each.new) for each in changed] for _, changed in with_changes(stream)]
    assert told == [[("n", None, "1")], [("n", "1", "2")], [("n", "2", None)], [("n", None, "3")]]
