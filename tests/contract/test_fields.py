"""§2: what each field of the canonical event must be, at its boundaries, and how the log names it."""

from typing import Any

from tests.contract.refusals import refused
from tests.support.messages import NOTE, REMINDER, cloud_event, legacy, native, reminder_data, sent
from tests.support.world import World


def test_a_field_missing_empty_or_ill_typed_is_refused_by_name(world: World) -> None:
    """Each required field of the canonical event is refused when it is not what it must be, and named."""
    cases: dict[str, dict[str, Any]] = {}
    expected: dict[str, str] = {}
    value: Any
    for field in ("userId", "itemId"):
        for name, value in {"missing": ..., "null": None, "empty": "", "number": 5, "list": ["a"]}.items():
            cases[f"{field} {name}"] = sent(legacy(**{field: value}), REMINDER)
            expected[f"{field} {name}"] = field
    for name, value in {"missing": ..., "null": None, "list": [], "text": "{}", "number": 1}.items():
        cases[f"eventData {name}"] = sent(legacy(eventData=value), NOTE)
        expected[f"eventData {name}"] = "eventData"
    for name, value in {"number": 1, "object": {}, "true": True}.items():
        cases[f"userEmail {name}"] = sent(legacy(userEmail=value), REMINDER)
        expected[f"userEmail {name}"] = "userEmail"
    for name, value in {"number": 1, "empty": "", "list": []}.items():
        cases[f"id {name}"] = sent(native(id=value))
        expected[f"id {name}"] = "id"
    for name, value in {"number": 1795417156749, "words": "today", "date only": "2026-11-23"}.items():
        cases[f"occurredAt {name}"] = sent(native(occurredAt=value))
        expected[f"occurredAt {name}"] = "occurredAt"
    cases["eventType missing"], expected["eventType missing"] = sent(legacy()), "eventType"
    cases["eventType number"], expected["eventType number"] = sent(native(eventType=5)), "eventType"
    cases["itemType number"], expected["itemType number"] = sent(native(itemType=5)), "itemType"
    assert refused(world, cases) == expected


def test_an_event_with_its_own_id_must_bring_its_own_time(world: World) -> None:
    """A native event with an id but no time is refused; with a time but no id it takes the envelope's id."""
    cases = {
        "id alone": sent(native(occurredAt=...)),
        "id and null": sent(native(id="event-2", occurredAt=None)),
        "CloudEvent without time": sent(cloud_event(time=...)),
        "time alone": sent(native(id=...)),
    }
    fields = refused(world, cases)
    assert set(fields) == set(cases) - {"time alone"}
    assert fields["id alone"] == fields["id and null"] == "occurredAt"


def test_no_email_address_is_fine(world: World) -> None:
    """Null and absent both mean that there is none."""
    cases = {
        "null": sent(legacy(userEmail=None, itemId="R1"), REMINDER),
        "absent": sent(legacy(userEmail=..., itemId="R2"), REMINDER),
        "null native": sent(native(userEmail=None, itemId="R3")),
    }
    assert refused(world, cases) == {}


def test_lengths_are_counted_in_characters_and_an_id_in_bytes_too(world: World) -> None:
    """256 characters are the most for ids, 128 for a type; an event's id has 900 bytes at most."""
    accepted = {
        "id 256": sent(native(id="i" * 256)),
        "id 1": sent(native(id="i")),
        "id 256 of 3 bytes": sent(native(id="日" * 256)),
        "id 900 bytes": sent(native(id="🎉" * 225)),
        "itemId 256": sent(native(id="1", itemId="i" * 256)),
        "itemId 256 of 4 bytes": sent(native(id="2", itemId="🎉" * 256)),
        "userId 256": sent(native(id="3", userId="u" * 256)),
        "userId 256 of 4 bytes": sent(native(id="4", userId="🎉" * 256)),
        "eventType 128": sent(native(id="5", eventType="note:" + "a" * 123, itemType="note")),
        "CloudEvent id 256": sent(cloud_event(source="s" * 100, id="i" * 155)),
    }
    rejected = {
        "id 257": (sent(native(id="i" * 257)), "id"),
        "id 901 bytes": (sent(native(id="🎉" * 224 + "日é")), "id"),
        "itemId 257": (sent(native(id="6", itemId="i" * 257)), "itemId"),
        "userId 257": (sent(native(id="7", userId="u" * 257)), "userId"),
        "eventType 129": (sent(native(id="8", eventType="note:" + "a" * 124, itemType="note")), "eventType"),
        "CloudEvent id 257": (sent(cloud_event(source="s" * 100, id="i" * 156)), None),
    }
    fields = refused(world, accepted | {name: record for name, (record, _) in rejected.items()})
    assert set(fields) == set(rejected)
    assert {name: field for name, field in fields.items() if rejected[name][1]} == {
        name: field for name, (_, field) in rejected.items() if field
    }


def test_the_longest_keys_fit_everywhere_together(world: World) -> None:
    """The longest ids in the widest characters, all at once and none like another, go all the way."""
    wide = ["".join(chr(0x20000 + 256 * block + number) for number in range(256)) for block in range(3)]
    kinds = {"eventType": "notification:create", "itemType": "notification"}
    cases = {"longest": sent(native(id=wide[0][:225], itemId=wide[1], userId=wide[2], **kinds))}
    assert refused(world, cases) == {}


def test_a_cloudevent_lacks_nothing_either(world: World) -> None:
    """A CloudEvent without one of its parts is refused, and so is one whose data has no user or no data."""
    data = {"userId": "user-a", "eventData": reminder_data()}
    cases = {f"no {name}": sent(cloud_event(**{name: ...})) for name in ("id", "source", "type", "subject", "data")}
    cases |= {f"empty {name}": sent(cloud_event(**{name: ""})) for name in ("id", "source", "type", "subject")}
    cases |= {f"{name} a number": sent(cloud_event(**{name: 5})) for name in ("type", "time", "subject", "data")}
    cases |= {
        "no user": sent(cloud_event(data={"eventData": reminder_data()})),
        "no event data": sent(cloud_event(data={"userId": "user-a"})),
        "no date": sent(cloud_event(data=data | {"eventData": {}})),
        "user a number": sent(cloud_event(data=data | {"userId": 5})),
        "address a number": sent(cloud_event(data=data | {"userEmail": 5})),
        "good": sent(cloud_event(data=data, datacontenttype="application/json")),
    }
    assert set(refused(world, cases)) == set(cases) - {"good"}


def test_an_event_type_begins_with_its_item_type(world: World) -> None:
    """Types begin with a letter; the part before the first colon is the item type unless another field names it."""
    bad = ["", "reminder", ":", ":added", "Note:added", "note: added", "1:2", "note#1:added", "n" * 65 + ":added"]
    bad += ["note:added\n", "nöte:added", ".note:x", "note:añadido", "ｎote:x"]
    fine = ["a:b", "note:added", "a.b_c-1:d.e_f-2", "note-:x-", "note:", "a:b:c", "note:Added", "note:_x", "note:x/y"]
    cases = {
        kind: sent(native(id=f"event-{number}", eventType=kind, itemType=..., eventData={}))
        for number, kind in enumerate(bad + fine)
    }
    fields = refused(world, cases)
    assert set(fields) == set(bad)
    assert set(fields.values()) <= {"eventType", "itemType"}


def test_item_type_and_event_type_must_agree(world: World) -> None:
    """An item type other than the event type's prefix is refused, wherever the two come from."""
    cases = {
        "attributes": sent(legacy(), {"eventType": "reminder:created", "eventItemType": "note"}),
        "body": sent(native(id="1", itemType="note")),
        "CloudEvent": sent(cloud_event(itemtype="note")),
        "good CloudEvent": sent(cloud_event(id="2", itemtype="reminder")),
        "good prefix alone": sent(legacy(), {"eventType": "reminder:created"}),
        "good body over attributes": sent(native(id="2"), NOTE),
    }
    assert set(refused(world, cases)) == {"attributes", "body", "CloudEvent"}
