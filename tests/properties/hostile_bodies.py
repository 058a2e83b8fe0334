"""Bodies that no honest producer sends: ten thousand mutilations of real ones, and a corpus of extremes."""

import json
import random
from collections.abc import Iterator

from tests.support.messages import CREATED, Record, cloud_event, legacy, native, raw, reminder_data, wrapped

EMAIL = "victim@example.com"
SECRET = "the secret of a message"
MEBIBYTE = 1024 * 1024

# Texts that are put in the place of others: of every kind JSON, SQL, PartiQL and Unicode have trouble with.
TOKENS = [
    *(
        "NaN",
        "-Infinity",
        "1e400",
        "-1e-400",
        "1" * 5000,
        "1e131072",
        "0e-99999",
        "1E+999999999999999999999",
        "01",
        "-",
    ),
    *("null", "true", "[]", "{}", "[[[[[[]]]]]]", '{"a":{"a":{}}}', "[" * 70 + "]" * 70, "{" * 200, "]" * 200),
    *(
        '""',
        '"\\u0000"',
        '"\\ud800"',
        '"\\udc00\\ud800"',
        '"\\ud83d\\ude00"',
        '"\ufeff"',
        '"\u202e"',
        '"\uffff"',
        '"\\x"',
    ),
    *('"x\'; DROP TABLE notifications; --"', '"\'} RETURNING ALL OLD *"', '"%s %(x)s {0} $1 ?"', '"${jndi:ldap://x}"'),
    *('"+060000-01-01T00:00:00.000Z"', '"0000-01-01T00:00:00Z"', '"9999-12-31T23:59:60Z"', '"2026-02-30T00:00:00Z"'),
    *("\x00", "\x1f", "\u2028", '"', "\\", ",", ":", "//", "/*", "'a'", "undefined", " ", "\t\r\n"),
]
NAMES = [
    "userId",
    "itemId",
    "eventData",
    "userEmail",
    "id",
    "occurredAt",
    "eventType",
    "date",
    "updatedAt",
    "message",
    "Type",
]


def _event(rng: random.Random) -> Record:
    data = reminder_data(message=SECRET, userEmail=EMAIL)
    fields = {"userEmail": EMAIL, "itemId": f"item-{rng.randrange(50)}"}
    form = rng.randrange(3)
    if form == 0:
        return legacy(eventData=data, **fields)
    if form == 1:
        return native(eventData=data, id=f"id-{rng.randrange(10**9)}", causationId="cause-1", **fields)
    return cloud_event(data={"userId": "user-a", "userEmail": EMAIL, "eventData": data}, id=str(rng.random()))


def _mutilate(rng: random.Random, text: str) -> str:
    """Change a text in one to three places: cut, repeat, flip, replace, insert."""
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(text) + 1)
        until = min(len(text), at + rng.choice((0, 1, 2, 8, 40)))
        kind = rng.randrange(6)
        if kind == 0:
            text = text[:at]
        elif kind == 1:
            text = text[:until] + text[at:]
        elif kind == 2:
            text = (
                text[:at] + chr(rng.choice((rng.randrange(128), rng.randrange(0xD800), 0xFFFF, 0x1F600))) + text[until:]
            )
        elif kind == 3:
            name = rng.choice(NAMES)
            text = text.replace(f'"{name}"', f'"{rng.choice(NAMES)}"', 1)
        else:
            values = [place for place in range(len(text)) if text.startswith('": ', place)]
            start = rng.choice(values) + 3 if values else at
            text = text[:start] + rng.choice(TOKENS) + text[rng.choice((start, len(text), until)) :]
    return text


def mutilated(count: int, seed: int) -> Iterator[Record]:
    """Yield records in every envelope, one of a seed always the same as before."""
    rng = random.Random(seed)
    event_types = [
        "reminder:created",
        "reminder:deleted",
        "notification:update",
        "order:placed",
        "notification:created",
    ]
    for number in range(count):
        event_type = rng.choice(event_types)
        text = json.dumps(_event(rng))
        if rng.random() < 0.3:
            record = wrapped(_mutilate(rng, text), event_type)
            if rng.random() < 0.5:
                record |= {"body": _mutilate(rng, record["body"])}
        else:
            record = raw(_mutilate(rng, text), rng.choice((event_type, None, "no type", "x" * 100)))
        yield record | {"messageId": f"hostile-{seed}-{number}"}


def _data(members: str) -> str:
    return '{"userId":"u","itemId":"i","eventData":{"date":"2026-11-23T07:54:00Z",' + members + "}}"


def extremes() -> Iterator[Record]:
    """Yield bodies of a mebibyte, of every shape, and other extremes."""
    noise = random.Random(1).randbytes(MEBIBYTE // 2).hex()
    shapes = {
        "one string": '"x":"' + "y" * MEBIBYTE + '"',
        "noise": '"x":"' + noise + '"',
        "escapes": '"x":"' + "\\u00e9" * (MEBIBYTE // 6) + '"',
        "backslashes": '"x":"' + "\\\\" * (MEBIBYTE // 2) + '"',
        "euro signs": '"x":"' + "\u20ac" * (MEBIBYTE // 3) + '"',
        "control characters": '"x":"' + "\\u0001" * (MEBIBYTE // 6) + '"',
        "one number": '"x":' + "9" * MEBIBYTE,
        "one fraction": '"x":0.' + "9" * MEBIBYTE,
        "small numbers": '"x":[' + ",".join("1" * (MEBIBYTE // 2)) + "]",
        "numbers of 999 digits": '"x":[' + ",".join(["9" * 999] * (MEBIBYTE // 1000)) + "]",
        "large exponents": '"x":[' + ",".join(["1e131071"] * (MEBIBYTE // 9)) + "]",
        "empty arrays": '"x":[' + ",".join(["[]"] * (MEBIBYTE // 3)) + "]",
        "empty objects": '"x":[' + ",".join(["{}"] * (MEBIBYTE // 3)) + "]",
        "many keys": ",".join(f'"k{number}":0' for number in range(MEBIBYTE // 12)),
        "one key often": ",".join(['"k":0'] * (MEBIBYTE // 6)),
        "one long key": '"' + "k" * MEBIBYTE + '":0',
        "white space": '"x":' + " " * MEBIBYTE + "0",
    }
    for name, members in shapes.items():
        for event_type in ("reminder:created", "order:placed"):
            yield raw(_data(members), event_type) | {"messageId": f"{name} {event_type}"}
    bodies = {
        "nothing": "",
        "brackets": "[" * MEBIBYTE,
        "braces": '{"a":' * (MEBIBYTE // 5),
        "quotes": '"' * MEBIBYTE,
        "unclosed": _data('"x":"' + "[" * MEBIBYTE)[:-3],
        "zeros": "0" * MEBIBYTE,
        "an unclosed string of quotes": "[" * 65 + '"' + '\\"' * (MEBIBYTE // 2),
        "strings that never close": "[" * 65 + '"\\' * (MEBIBYTE // 2),
        "a long e-mail address": json.dumps(legacy(userEmail="x" * MEBIBYTE)),
        "a long user id": json.dumps(legacy(userId="x" * MEBIBYTE)),
        "a long cause": json.dumps(native(causationId="x" * 300_000)),
        "colliding names": json.dumps(legacy() | {"Type": "Notification", "Message": "x", "specversion": "1.0"}),
    }
    for name, body in bodies.items():
        yield raw(body, CREATED) | {"messageId": name}
    yield raw(legacy(), CREATED) | {"messageId": "no attributes", "attributes": {}, "messageAttributes": None}
    yield raw(legacy(), CREATED) | {"messageId": "odd attributes", "messageAttributes": {"eventType": ["x"], "x": {}}}
    yield wrapped(legacy(), CREATED, MessageAttributes="x") | {"messageId": "attributes of no form"}
    yield wrapped(legacy(), CREATED, MessageId=["x"], Timestamp={}) | {"messageId": "an id of no form"}
