"""§2 and §3: `eventData` is kept exactly; what is too large is refused; the same key is written once."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.contract.refusals import refused
from tests.support.messages import (
    NOTE,
    REMINDER,
    Record,
    again,
    legacy,
    native,
    noise,
    note,
    raw,
    reminder_data,
    sent,
    text,
    wrapped,
)
from tests.support.oracle import exact_json
from tests.support.world import World

EXACT = {
    "digits": '{"n":[1.00,1e2,1E+2,-0,-0.0,0.10000000000000000001,12345678901234567890.12345678901234567890]}',
    "numbers beyond every type": '{"n":[1e999999999999,1e-999999999999,' + "7" * 5000 + "]}",
    "key order": '{"z":1,"a":{"y":1,"b":2},"10":1,"9":2}',
    "repeated keys": '{"a":1,"a":2,"a":{"b":1,"b":null}}',
    "white space": '{ "a" :\t[ 1 ,\n2 ] ,\r\n "b" : { } }',
    "escapes": r'{"a":"\u0041\/\"\\\b\f\n\r\t\u2028\ud83c\udf89","\u0062":1}',
    "unescaped": '{"a":"Zahnarzt – «größer» 日本語 🎉 \u2028 <b>&amp;","ключ":""}',
    "looks like an end": '{"a":"}]\\"}","b":[{"eventData":{"c":1}}]}',
    "empty": "{}",
    "empty keys": '{"":{"":[]}}',
}


@pytest.mark.parametrize("envelope", [raw, wrapped])
def test_event_data_is_stored_as_the_text_it_was(world: World, envelope: Any) -> None:
    """Digits, key order, repeated keys, white space and escapes stay as they were, small or compressed."""
    large = {f"{name} large": f'{text[:-1]},"pad":"{"x" * 5000}"}}' for name, text in EXACT.items() if text != "{}"}
    events = EXACT | large
    world.accept(*(envelope(note(data, name)) for name, data in events.items()))
    assert {item["id"]: item["eventData"] for item in world.events().values()} == events


def test_the_text_may_be_surrounded_by_anything(world: World) -> None:
    """White space around the members of the event does not count as data, other members are not mixed in."""
    body = ' {\n  "eventData" :\n { "a" : 1 } \n , "other" : {"eventData":{"b":2}} , "userId":"u","itemId":"i"}\n'
    world.accept(raw(body, NOTE))
    ((_, item),) = world.events().items()
    assert item["eventData"] == '{ "a" : 1 }'


def test_large_event_data_is_compressed(world: World) -> None:
    """Large data is gzip bytes with its encoding named, small data a string."""
    world.accept(raw(note('{"a":1}', "small")), raw(note(f'{{"a":"{"x" * 500_000}"}}', "large")))
    scan = world.aws.dynamodb.scan(TableName=world.aws.table)["Items"]
    items = {item["id"]["S"]: item for item in scan}
    assert items["small"]["eventData"] == {"S": '{"a":1}'}
    assert "eventDataEncoding" not in items["small"]
    assert set(items["large"]["eventData"]) == {"B"}
    assert items["large"]["eventDataEncoding"] == {"S": "gzip"}


def test_recorded_at_is_when_the_event_was_first_stored(world: World) -> None:
    """`recordedAt` is the time of the first delivery and stays; nothing else but the listed attributes is stored."""
    record = sent(legacy(), REMINDER)
    world.accept(record)
    ((key, item),) = world.events().items()
    assert abs(datetime.fromisoformat(item["recordedAt"]) - datetime.now(UTC)) < timedelta(minutes=1)
    assert "expiresAt" not in item
    world.accept(again(record))
    assert world.events() == {key: item}


def test_retention_gives_every_item_an_end(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """With EVENT_RETENTION_DAYS, events and facts carry `expiresAt`, in seconds after `recordedAt`."""
    monkeypatch.setenv("EVENT_RETENTION_DAYS", "7")
    world.accept(sent(legacy(), REMINDER))
    items = world.items().values()
    assert len(items) == len(["event", "fact"])
    for item in items:
        recorded = datetime.fromisoformat(item["recordedAt"]).timestamp()
        assert abs(float(item["expiresAt"]) - recorded - 7 * 86_400) <= 1
        assert item["expiresAt"] == int(item["expiresAt"])


def test_a_compressible_event_of_one_mebibyte_is_stored(world: World) -> None:
    """An event as large as SQS allows is stored whole and applied whole; its fact is published truncated."""
    record = sent_of_size(2**20)
    world.accept(record)
    (item,) = world.events().values()
    data = exact_json(json.loads(record["body"])["Message"])["eventData"]
    assert exact_json(item["eventData"]) == data
    assert world.row()["notification_data"]["message"] == data["message"]
    (message,) = world.published()
    assert message.body["eventData"]["notificationData"] is None
    assert message.body["eventData"]["truncated"] is True


def sent_of_size(size: int) -> Record:
    """A wrapped reminder whose SQS body has `size` bytes."""

    def of(length: int) -> Record:
        return wrapped(text(native(eventData=reminder_data(message="é" * length))))

    # An é is six bytes of the envelope, where it is escaped.
    length = (size - len(of(0)["body"])) // 6
    return of(length)


def test_an_event_that_does_not_fit_an_item_is_refused(world: World) -> None:
    """An event above 400 KB even when compressed is rejected, and so is one whose fact would not fit."""
    cases = {
        "note": sent(native(id="1", eventType="note:added", itemType="note", eventData={"x": noise(900_000)})),
        "reminder": sent(native(id="2", eventData=reminder_data(message=noise(900_000)))),
        "address": sent(native(id="3", userEmail=noise(500_000))),
        "fact too large to store": sent(native(id="4", userEmail=noise(250_000))),
        "fact too large to publish": sent(native(id="5", userEmail="x" * 140_000)),
        "good note": sent(native(id="6", eventType="note:added", itemType="note", userEmail=noise(250_000))),
        "good reminder": sent(native(id="7", itemId="R7", eventData=reminder_data(message=noise(300_000)))),
    }
    assert set(refused(world, cases)) == {name for name in cases if not name.startswith("good")}


def test_a_fact_is_truncated_only_above_256_kib(world: World) -> None:
    """A fact of 200 KB goes out whole, one of 300 KB without its data and marked; both are stored whole."""
    sizes = {"whole": 200_000, "truncated": 300_000}
    for name, size in sizes.items():
        data = reminder_data(message=noise(size))
        world.accept(sent(native(id=name, itemId=name, eventData=data)))
    messages = {message.body["causationId"]: message for message in world.published()}
    assert "truncated" not in messages["whole"].body["eventData"]
    truncated = messages["truncated"].body["eventData"]
    assert truncated["truncated"] is True
    assert truncated["notificationData"] is None
    for name, size in sizes.items():
        published = messages[name].body
        stored = exact_json(world.facts_stored()[published["id"]]["eventData"])
        assert len(stored["notificationData"]["message"]) == size
        assert {k: v for k, v in stored.items() if k != "notificationData"} == {
            k: v for k, v in published["eventData"].items() if k not in {"notificationData", "truncated"}
        }


def test_many_large_facts_of_one_batch_are_all_published_whole(world: World) -> None:
    """Facts that fit one by one but not together are published all the same."""
    names = [f"R{number}" for number in range(12)]
    data = reminder_data(message=noise(60_000))
    world.accept(*(sent(native(id=name, itemId=name, eventData=data)) for name in names))
    facts = [message.body["eventData"] for message in world.published()]
    assert sorted(fact["itemId"] for fact in facts) == sorted(names)
    assert all(len(fact["notificationData"]["message"]) == len(noise(60_000)) for fact in facts)


def test_ill_typed_other_fields_never_cause_a_rejection(world: World) -> None:
    """They are kept as they came; a message or url that is not a string counts as absent."""
    values: list[Any] = [None, 5, 1.5, True, [], {}, ["x"], {"a": None}]
    names = ["id", "userId", "isRecurring", "notifyOffset", "notifyType", "message", "url", "createdAt", "updatedAt"]
    cases = {
        f"{name}={value}": sent(
            native(id=f"{name}={value}", itemId=f"{name}={value}", eventData={**reminder_data(), name: value})
        )
        for name in names
        for value in values
    }
    assert refused(world, cases) == {}
    rows = {row["item_id"]: row["notification_data"] for row in world.rows().values()}
    stored = {item["id"]: json.loads(item["eventData"]) for item in world.events().values()}
    for name in names:
        for value in values:
            case = f"{name}={value}"
            kept = rows[case][name]
            assert json.dumps(stored[case][name]) == json.dumps(value)
            enriched = {"userId": "user-a", "message": "", "url": ""}
            assert kept == enriched.get(name, value), case
