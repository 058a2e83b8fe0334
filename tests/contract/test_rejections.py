"""§2, "Rejected, one record at a time, with a clear reason": every rule at its boundary."""

import json
from typing import Any

from tests.contract.refusals import refused
from tests.support.messages import (
    ADDRESS,
    NOTE,
    PAYLOAD,
    REMINDER,
    cloud_event,
    legacy,
    native,
    nested,
    raw,
    reminder_data,
    sent,
    spliced,
    text,
    wrapped,
)
from tests.support.world import World


def test_what_is_not_json_is_refused(world: World) -> None:
    """A body, or the message in its envelope, that is not a JSON object is refused."""
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
        "64 CloudEvents": sent(cloud_event(type="note:added", data={"userId": "u", "eventData": {"x": nested(61)}})),
        "65": sent(legacy(eventData=reminder_data(x=nested(63))), NOTE),
        "65 known": sent(legacy(eventData=reminder_data(x=nested(63))), REMINDER),
        "65 CloudEvents": sent(
            cloud_event(id="2", type="note:added", data={"userId": "u", "eventData": {"x": nested(62)}})
        ),
        "65 of another producer's notification:created": sent(
            native(id="3", eventType="notification:created", itemType="notification", eventData={"x": nested(63)})
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


def test_nul_and_lone_surrogates_are_refused_outside_the_values_of_event_data(world: World) -> None:
    """NUL and half a surrogate pair may be escaped in the values of `eventData`; what merely looks like one is text."""
    cases = {
        "good NUL": sent(legacy(eventData={"x": "a\0b"}), NOTE),
        "NUL in a key": sent(legacy(eventData={"a\0b": 1}), NOTE),
        "good NUL nested": sent(legacy(eventData=reminder_data(x=[{"y": ["\0"]}])), REMINDER),
        "NUL in the item id": sent(legacy(itemId="a\0b"), NOTE),
        "NUL in the user id": sent(legacy(userId="a\0b"), NOTE),
        "NUL in the e-mail address": sent(legacy(userEmail=ADDRESS + "\0"), REMINDER),
        "NUL in the id": sent(native(id="a\0b")),
        "NUL outside eventData": sent(legacy(extra="\0"), NOTE),
        "good high surrogate": sent(spliced(legacy(), r'"x":"\ud83c"'), NOTE),
        "good low surrogate": sent(spliced(legacy(), r'"x":"\udf89"'), NOTE),
        "good pair the wrong way round": sent(spliced(legacy(), r'"x":"\udf89\ud83c"'), REMINDER),
        "good two high surrogates": sent(spliced(legacy(), r'"x":"\ud83c\ud83c\udf89"'), NOTE),
        "surrogate in a key": sent(spliced(legacy(), r'"\uD800":1'), NOTE),
        "surrogate in the item id": sent(legacy(itemId="a\ud800"), NOTE),
        "surrogate unescaped": raw(spliced(legacy(), '"x":"\ud83c"'), NOTE),
        "good pair": sent(spliced(legacy(), r'"x":"\uD83C\uDF89"'), NOTE),
        "good backslash u d800": sent(spliced(legacy(), r'"x":"\\ud800 \\\\u0000"'), NOTE),
        "good first and last": sent(spliced(legacy(), r'"x":"\u0001\ud7ff\ue000\uffff"'), NOTE),
    }
    assert set(refused(world, cases)) == {name for name in cases if not name.startswith("good")}


def test_odd_envelopes_do_not_affect_other_records(world: World) -> None:
    """Each record succeeds or fails separately, whatever its envelope holds, and the log says so."""
    envelope = json.loads(wrapped(text(native(id=...)), REMINDER)["body"])
    changes: dict[str, Any] = {
        "attributes null": {"MessageAttributes": None},
        "attributes a list": {"MessageAttributes": [1]},
        "attribute a number": {"MessageAttributes": {"eventType": {"Type": "String", "Value": 5}}},
        "attribute a string": {"MessageAttributes": {"eventType": "reminder:created"}},
        "time a word": {"Timestamp": "soon"},
        "time a number": {"Timestamp": 5},
        "message a number": {"Message": 5},
        "message null": {"Message": None},
        "message id a number": {"MessageId": 5},
    }
    bodies = {name: envelope | {"MessageId": name} | change for name, change in changes.items()}
    for name in envelope:
        body = envelope | {"MessageId": f"no {name}"}
        bodies[f"no {name}"] = {key: value for key, value in body.items() if key != name}
    cases = {name: raw(text(body)) for name, body in bodies.items()}
    bare = raw(text(legacy(eventData={})), NOTE)
    cases |= {
        "no SQS attributes": bare | {"messageId": "bare-1", "attributes": {}},
        "SQS attributes null": bare | {"messageId": "bare-2", "messageAttributes": None},
        "sent at no time": bare | {"messageId": "bare-3", "attributes": {"SentTimestamp": "x"}},
        "sent in the year 33658": bare | {"messageId": "bare-4", "attributes": {"SentTimestamp": "1" + "0" * 15}},
    }
    assert {"message a number", "message null"} <= set(refused(world, cases))


def test_a_known_types_numbers_must_fit_jsonb(world: World) -> None:
    """A number that jsonb cannot hold is refused for the known types, and kept for the others."""
    unfit = ["1e131072", "-1e131072", "1e-16384", "9" * 131_073, "1e99999999999999999999", "1e-99999"]
    fit = [
        "1e131071",
        "1e131071,-1e131071,1.5e131071",
        ",".join(["1.7976931348623157e+308"] * 2000),
        "5e-324",
        "1e-16383",
        "9" * 131_072,
        "0." + "1" * 16_383,
    ]
    fit += ["1E+2", "-0", "-0.0e0"]
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
        f"other {number[:9]} {len(number)}": sent(spliced(legacy(), f'"n":[{number}]'), NOTE) for number in unfit + fit
    }
    expected = {f"{kind} {number[:9]} {len(number)}" for kind in ("created", "deleted") for number in unfit}
    assert set(refused(world, created | deleted | other)) == expected
