"""§3: the same key is written once; the same payload again is a duplicate, another one a conflict."""

from typing import Any

from tests.support.messages import ADDRESS, PAYLOAD, again, native, note, raw, reminder_data, text
from tests.support.world import World

BASE: dict[str, Any] = {"causationId": "cause", "userEmail": ADDRESS}
SAME = {
    "trailing zeros": ('{"n":1.0}', '{"n":1.00}'),
    "exponent": ('{"n":100}', '{"n":1e2}'),
    "huge exponent": ('{"n":1e999999999999}', '{"n":10e999999999998}'),
    "key order": ('{"a":1,"b":{"c":1,"d":2}}', '{"b":{"d":2,"c":1},"a":1}'),
    "white space": ('{"a":[1,2]}', '{ "a" : [ 1 , 2 ] }'),
    "escapes": ('{"a":"A/é🎉"}', r'{"a":"\u0041\/\u00e9\ud83c\udf89"}'),
    "escaped key": ('{"a":1}', r'{"\u0061":1}'),
}
OTHER = {
    "value": ('{"a":1}', '{"a":2}'),
    "true and 1": ('{"a":true}', '{"a":1}'),
    "false and 0": ('{"a":[false]}', '{"a":[0]}'),
    "string and number": ('{"a":"1"}', '{"a":1}'),
    "null and absent": ('{"a":null}', "{}"),
    "order of a list": ('{"a":[1,2]}', '{"a":[2,1]}'),
    "beyond a double": ('{"a":0.1}', '{"a":0.10000000000000000001}'),
    "large integers": ('{"a":9007199254740992}', '{"a":9007199254740993}'),
    "both infinite as doubles": ('{"a":1e400}', '{"a":1e401}'),
    "huge exponents": ('{"a":1e999999999999}', '{"a":1e999999999998}'),
    "normal forms": ('{"a":"é"}', '{"a":"e\u0301"}'),
    "empty containers": ('{"a":[]}', '{"a":{}}'),
}


def test_the_same_payload_again_is_a_duplicate(world: World) -> None:
    """Equal fields and data equal as JSON values, however written: acknowledged, and nothing is written again."""
    pairs = {
        name: (raw(note(first, name, **BASE)), raw(note(second, name, **BASE)))
        for name, (first, second) in SAME.items()
    }
    pairs["null and absent causation"] = (raw(note("{}", "c")), raw(note("{}", "c", causationId=None)))
    pairs["null and absent address"] = (raw(note("{}", "e")), raw(note("{}", "e", userEmail=None)))
    cloud = '"data":{"userId":"user-a","eventData":{}}}'
    pairs["another format"] = (
        raw(note("{}", "s 1")),
        raw(
            '{"specversion":"1.0","source":"s","id":"1","time":"2026-11-23T07:00:00+01:00",'
            f'"type":"note:added","subject":"s 1",{cloud}'
        ),
    )
    world.accept(*(first for first, _ in pairs.values()))
    before = world.items()
    world.accept(*(second for _, second in pairs.values()))
    assert world.items() == before


def test_another_payload_under_the_same_key_is_refused(world: World) -> None:
    """A conflict is refused with its reason and leaves what was stored; its neighbours are processed."""
    pairs = {name: (note(first, name, **BASE), note(second, name, **BASE)) for name, (first, second) in OTHER.items()}
    changes: dict[str, Any] = {
        "eventType": "note:removed",
        "userId": "user-b",
        "userEmail": "other@example.org",
        "causationId": "other",
    }
    for field, value in changes.items():
        pairs[field] = (note("{}", field, **BASE), note("{}", field, **BASE | {field: value}))
        if field in BASE:
            pairs[f"no {field}"] = (note("{}", f"{field}2", **BASE), note("{}", f"{field}2", **BASE | {field: None}))
    world.accept(*(raw(first) for first, _ in pairs.values()))
    before = world.events()
    cases = {name: raw(second) for name, (_, second) in pairs.items()}
    answer = world.invoke([*cases.values(), raw(note("{}", "neighbour"))])
    assert answer.failed == {record["messageId"] for record in cases.values()}
    reasons = {entry["reason"] for record in cases.values() for entry in answer.entries(record)}
    assert len(reasons) == 1
    after = world.events()
    assert {key: after[key] for key in before} == before
    assert len(after) == len(before) + 1
    assert ADDRESS not in "".join(answer.lines)


def test_two_payloads_under_one_key_in_one_batch(world: World) -> None:
    """One of the two is stored and acknowledged, the other refused; repeats of the same go with it."""
    one, two = (raw(text(native(eventData=reminder_data(message=PAYLOAD + each)))) for each in "12")
    answer = world.invoke([one, two, again(one), again(two)])
    assert len(answer.failed) == len([one, two])
    (item,) = world.events().values()
    stored, other = (one, two) if item["eventData"] in one["body"] else (two, one)
    assert stored["messageId"] not in answer.failed
    assert other["messageId"] in answer.failed
    (message,) = world.published()
    assert message.body["eventData"]["notificationData"]["message"] == world.row()["notification_data"]["message"]
    assert world.row()["notification_data"]["message"] in stored["body"]
