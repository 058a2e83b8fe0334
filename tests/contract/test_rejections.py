"""§2, "Rejected, one record at a time, with a clear reason": every rule at its boundary."""

from .cases import (
    ADDRESS,
    NOTE,
    PAYLOAD,
    REMINDER,
    cloudevent,
    legacy,
    native,
    nested,
    refused,
    reminder_data,
    sent,
    spliced,
)
from .records import raw, text, wrapped
from .world import World


def test_what_is_not_json_is_refused(world: World) -> None:
    """A body, or the message in its envelope, that is no JSON object is refused."""
    body = text(legacy())
    cases = {
        "empty": raw("", REMINDER),
        "words": raw(PAYLOAD, REMINDER),
        "cut short": raw(body[:-1], REMINDER),
        "cut short in the envelope": wrapped(body[:-1], REMINDER),
        "envelope cut short": raw(wrapped(body, REMINDER)["body"][:-9]),
        "two values": raw(body + body, REMINDER),
        "single quotes": raw(body.replace('"', "'"), REMINDER),
        "trailing comma": raw(body[:-1] + ",}", REMINDER),
        "comment": raw(body + "// " + PAYLOAD, REMINDER),
        "raw control character": raw(body.replace(PAYLOAD, PAYLOAD + "\t"), REMINDER),
        "byte order mark": raw("\ufeff" + body, REMINDER),
        "leading zero": raw(spliced(legacy(), '"n":01'), REMINDER),
        "plus sign": raw(spliced(legacy(), '"n":+1'), REMINDER),
        "no digit after the point": raw(spliced(legacy(), '"n":1.'), REMINDER),
        "array": raw("[]", REMINDER),
        "string": wrapped(text(PAYLOAD), REMINDER),
        "number": raw("5", REMINDER),
        "null": wrapped("null", REMINDER),
    }
    assert set(refused(world, cases)) == set(cases)


def test_only_64_levels_may_be_nested(world: World) -> None:
    """An event of 64 levels, its outermost object being the first, is stored; one more is refused."""
    cases = {
        "64": sent(legacy(eventData=reminder_data(x=nested(62))), NOTE),
        "64 native": sent(native(eventData={"x": nested(62)}, eventType="note:added", itemType="note")),
        "64 CloudEvents": sent(cloudevent(type="note:added", data={"userId": "u", "eventData": {"x": nested(61)}})),
        "65": sent(legacy(eventData=reminder_data(x=nested(63))), NOTE),
        "65 known": sent(legacy(eventData=reminder_data(x=nested(63))), REMINDER),
        "65 CloudEvents": sent(
            cloudevent(id="2", type="note:added", data={"userId": "u", "eventData": {"x": nested(62)}})
        ),
        "65 outside eventData": sent(legacy(extra=nested(64)), NOTE),
        "100000": sent(spliced(legacy(), '"x":' + "[" * 100_000 + "]" * 100_000), NOTE),
        "100000 open": sent(spliced(legacy(), '"x":' + '{"a":' * 100_000), NOTE),
    }
    assert set(refused(world, cases)) == {name for name in cases if not name.startswith("64")}


def test_nan_and_infinity_are_refused(world: World) -> None:
    """Tokens that JSON does not have are refused wherever they stand; as strings they are text."""
    cases = {
        "NaN": sent(spliced(legacy(), '"x":NaN'), REMINDER),
        "Infinity": sent(spliced(legacy(), '"x":[Infinity]'), REMINDER),
        "-Infinity": sent(spliced(legacy(), '"x":-Infinity'), NOTE),
        "NaN outside eventData": sent(text(legacy())[:-1] + ',"x":NaN}', NOTE),
        "strings": sent(legacy(eventData={"x": ["NaN", "Infinity", "-Infinity"]}), NOTE),
    }
    assert set(refused(world, cases)) == set(cases) - {"strings"}


def test_nul_and_lone_surrogates_are_refused_anywhere(world: World) -> None:
    """NUL and half a surrogate pair are refused in any string or key; what merely looks like one is text."""
    cases = {
        "NUL": sent(legacy(eventData={"x": "a\0b"}), NOTE),
        "NUL in a key": sent(legacy(eventData={"a\0b": 1}), NOTE),
        "NUL nested": sent(legacy(eventData=reminder_data(x=[{"y": ["\0"]}])), REMINDER),
        "NUL in the item id": sent(legacy(itemId="a\0b"), NOTE),
        "NUL in the user id": sent(legacy(userId="a\0b"), NOTE),
        "NUL in the e-mail address": sent(legacy(userEmail=ADDRESS + "\0"), REMINDER),
        "NUL in the id": sent(native(id="a\0b")),
        "NUL outside eventData": sent(legacy(extra="\0"), NOTE),
        "high surrogate": sent(spliced(legacy(), r'"x":"\ud83c"'), NOTE),
        "low surrogate": sent(spliced(legacy(), r'"x":"\udf89"'), NOTE),
        "pair the wrong way round": sent(spliced(legacy(), r'"x":"\udf89\ud83c"'), REMINDER),
        "two high surrogates": sent(spliced(legacy(), r'"x":"\ud83c\ud83c\udf89"'), NOTE),
        "surrogate in a key": sent(spliced(legacy(), r'"\uD800":1'), NOTE),
        "surrogate in the item id": sent(legacy(itemId="a\ud800"), NOTE),
        "surrogate unescaped": raw(spliced(legacy(), '"x":"\ud83c"'), NOTE),
        "good pair": sent(spliced(legacy(), r'"x":"\uD83C\uDF89"'), NOTE),
        "good backslash u d800": sent(spliced(legacy(), r'"x":"\\ud800 \\\\u0000"'), NOTE),
        "good first and last": sent(spliced(legacy(), r'"x":"\u0001\ud7ff\ue000\uffff"'), NOTE),
    }
    assert set(refused(world, cases)) == {name for name in cases if not name.startswith("good")}


def test_a_field_missing_empty_or_ill_typed_is_refused_by_name(world: World) -> None:
    """Each required field of the canonical event is refused when it is not what it must be, and named."""
    cases, expected = {}, {}
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
        "CloudEvent without time": sent(cloudevent(time=...)),
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
    """256 characters are the most for ids, 64 for a type; an event's id has 900 bytes at most."""
    accepted = {
        "id 256": sent(native(id="i" * 256)),
        "id 1": sent(native(id="i")),
        "id 256 of 3 bytes": sent(native(id="日" * 256)),
        "id 900 bytes": sent(native(id="🎉" * 225)),
        "itemId 256": sent(native(id="1", itemId="i" * 256)),
        "itemId 256 of 4 bytes": sent(native(id="2", itemId="🎉" * 256)),
        "userId 256": sent(native(id="3", userId="u" * 256)),
        "userId 256 of 4 bytes": sent(native(id="4", userId="🎉" * 256)),
        "eventType 64": sent(native(id="5", eventType="note:" + "a" * 59, itemType="note")),
        "CloudEvent id 256": sent(cloudevent(source="s" * 100, id="i" * 155)),
    }
    rejected = {
        "id 257": (sent(native(id="i" * 257)), "id"),
        "id 901 bytes": (sent(native(id="🎉" * 224 + "日é")), "id"),
        "itemId 257": (sent(native(id="6", itemId="i" * 257)), "itemId"),
        "userId 257": (sent(native(id="7", userId="u" * 257)), "userId"),
        "eventType 65": (sent(native(id="8", eventType="note:" + "a" * 60, itemType="note")), "eventType"),
        "CloudEvent id 257": (sent(cloudevent(source="s" * 100, id="i" * 156)), None),
    }
    fields = refused(world, accepted | {name: record for name, (record, _) in rejected.items()})
    assert set(fields) == set(rejected)
    assert {name: field for name, field in fields.items() if rejected[name][1]} == {
        name: field for name, (_, field) in rejected.items() if field
    }


def test_an_event_type_is_an_item_type_and_a_verb(world: World) -> None:
    """Types are two names of small letters, digits, dots, underscores and hyphens around one colon."""
    bad = ["", "reminder", ":", "note:", ":added", "a:b:c", "Note:added", "note:Added", "note: added", "1:2"]
    bad += ["note:added\n", "nöte:added", "note:_x", ".note:x", "note:añadido", "note:x/y", "ｎote:x"]
    fine = ["a:b", "note:added", "a.b_c-1:d.e_f-2", "note-:x-"]
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
        "CloudEvent": sent(cloudevent(itemtype="note")),
        "good CloudEvent": sent(cloudevent(id="2", itemtype="reminder")),
        "good prefix alone": sent(legacy(), {"eventType": "reminder:created"}),
        "good body over attributes": sent(native(id="2"), NOTE),
    }
    assert set(refused(world, cases)) == {"attributes", "body", "CloudEvent"}


def test_a_known_types_numbers_must_fit_jsonb(world: World) -> None:
    """A number that jsonb cannot hold is refused for the known types, and kept for the others."""
    unfit = ["1e131072", "-1e131072", "1e-16384", "9" * 131_073, "1e99999999999999999999", "1e-99999"]
    fit = ["1e131071", "1e-16383", "9" * 131_072, "0." + "1" * 16_383, "1E+2", "-0", "-0.0e0"]
    created = {
        f"created {number[:9]} {len(number)}": sent(
            spliced(legacy(itemId=f"created {index}"), f'"n":[{number}]'), REMINDER
        )
        for index, number in enumerate(unfit + fit)
    }
    deleted = {
        f"deleted {number[:9]} {len(number)}": sent(
            spliced(legacy(), f'"n":{number}'),
            {"eventType": "notification:delete", "eventItemType": "notification"},
        )
        for number in unfit
    }
    other = {
        f"other {number[:9]} {len(number)}": sent(spliced(legacy(), f'"n":{number}'), NOTE) for number in unfit + fit
    }
    expected = {f"{kind} {number[:9]} {len(number)}" for kind in ("created", "deleted") for number in unfit}
    assert set(refused(world, created | deleted | other)) == expected
