"""Batches of every size: real messages in every format and envelope, shuffled, repeated, malformed ones between."""

import random
import uuid
from datetime import timedelta

import pytest

from tests.support.formats import ENCODERS, LEGACY_RAW, captured, legacy_text
from tests.support.messages import Record, again, raw, text, wrapped
from tests.support.oracle import Event, Model, exact_json, instant, text_of
from tests.support.world import World

FIRST = instant("2026-11-23T06:00:00.000Z")
KINDS = ["reminder:created", "reminder:updated", "reminder:updated", "reminder:deleted"]
KINDS += ["notification:create", "notification:update", "notification:delete"]
KINDS += ["shopping-list:created", "shopping-list:item.added"]
TEXTS = ['Zahnarzt – «größer» 日本語 🎉 "quoted" \\ back\nnewline\ttab \u2028 <b>&amp;', "", None, "Pay rent", "؟שלום"]
URLS = ["https://example.com/meet?x=1&y=2", None, ""]
USERS = [("user-a", "alice@example.com"), ("user-b", "bob@example.com"), ("user-ü", None)]


def some_event(source: random.Random, number: int, encoding: str, kind: str = "") -> Event:
    """An event as producers send it, at a different instant each time, about one of few items of few users."""
    occurred = FIRST + timedelta(milliseconds=number * 7)
    kind = kind or source.choice(KINDS)
    user, email = source.choice(USERS)
    updated = occurred - timedelta(minutes=1) if kind.endswith(("deleted", "delete")) else occurred
    item = f"item-{number // 5}"
    data = {
        "id": item,
        "userId": user,
        "date": f"2026-12-{source.randrange(1, 31):02}T{source.randrange(24):02}:00:00.000Z",
        "isRecurring": source.random() < 0.5,
        "notifyOffset": source.choice([0, 5, 15]),
        "notifyType": source.choice(["push", "email"]),
        "message": source.choice(TEXTS),
        "url": source.choice(URLS),
        "createdAt": text_of(FIRST)[:-4] + "Z",
        "updatedAt": text_of(updated)[:-4] + "Z",
        "extra": {"größe": [1, None, {"tiefer": "🎉"}]},
    }
    name = str(uuid.UUID(int=source.getrandbits(128), version=4))
    return Event(
        id="" if encoding == LEGACY_RAW else name if encoding.startswith("legacy") else f"/producers {name}",
        occurred_at=text_of(occurred),
        event_type=kind,
        item_id=item,
        user_id=user,
        user_email=email,
        data_text=text(data),
        causation_id=name[::-1] if encoding.startswith("native") and number % 2 else None,
    )


def malformed(source: random.Random, number: int) -> Record:
    """A record that is refused, each time for another reason."""
    event = some_event(source, number, "legacy wrapped")
    body = legacy_text(event)
    created = {"eventType": "reminder:created", "eventItemType": "reminder"}
    date = exact_json(event.data_text)["date"]
    reasons = [
        raw(body[: len(body) // 2], created),
        wrapped(body.replace(f'"{date}"', '"+060000-01-01T00:00:00.000Z"'), created),
        wrapped(body.replace('"itemId"', '"item"'), created),
        raw(body.replace(f'"{event.user_id}"', "null", 1), created),
        wrapped(body, {"eventType": "reminder"}),
        raw(body),
    ]
    return reasons[number % len(reasons)]


@pytest.mark.parametrize("size", [1, 10, 100, 1000])
def test_a_batch_of_any_size_does_what_the_model_does(world: World, size: int) -> None:
    """Good, repeated and malformed records of one batch: items, rows, facts and answer are the model's."""
    source = random.Random(size)
    encodings = [source.choice(list(ENCODERS)) for _ in range(max(1, size * 8 // 10))]
    events = [some_event(source, number, encoding) for number, encoding in enumerate(encodings)]
    records = [ENCODERS[encoding](event) for encoding, event in zip(encodings, events, strict=True)]
    repeated = [again(record) for record in source.choices(records, k=size // 10)]
    bad = [malformed(source, number) for number in range(size - len(records) - len(repeated))]
    batch = [*records, *repeated, *bad]
    source.shuffle(batch)
    answer = world.invoke(batch)
    assert answer.failed == {record["messageId"] for record in bad}
    model = Model()
    model.deliver(world.learn(events))
    world.check(model)
    # Everything again, all of it known by now: nothing changes.
    assert world.invoke(batch[::-1]).failed == answer.failed
    world.check(model)


def test_batches_in_a_row_do_what_the_model_does(world: World) -> None:
    """The same events cut into batches of changing size, out of order and repeated across batches."""
    source = random.Random(7)
    encodings = list(ENCODERS) * 20
    events = [some_event(source, number, encoding) for number, encoding in enumerate(encodings)]
    records = [ENCODERS[encoding](event) for encoding, event in zip(encodings, events, strict=True)]
    order = [*range(len(events)), *source.choices(range(len(events)), k=60)]
    source.shuffle(order)
    model = Model()
    while order:
        cut = source.choice([1, 3, 10, 60])
        batch, order = order[:cut], order[cut:]
        world.accept(*(again(records[index]) for index in batch))
        model.deliver(world.learn(events[index] for index in batch))
    world.check(model)


def test_every_format_comes_to_the_same(world: World) -> None:
    """One reminder, in any format and envelope, is the same item, row and fact but for its id."""
    events = [
        some_event(random.Random(1), 5 * number, each, "reminder:created") for number, each in enumerate(ENCODERS)
    ]
    world.accept(*(encode(event) for encode, event in zip(ENCODERS.values(), events, strict=True)))
    model = Model()
    model.deliver(world.learn(events))
    world.check(model)
    assert len(world.rows()) == len(ENCODERS)


def test_mutilated_bodies_do_not_affect_other_records(world: World) -> None:
    """Bodies with characters lost, doubled, swapped or foreign fail or succeed alone, and never the function."""
    source = random.Random(42)
    encodings = [source.choice(list(ENCODERS)) for _ in range(400)]
    events = [some_event(source, number, each) for number, each in enumerate(encodings)]
    records = [ENCODERS[each](event) for each, event in zip(encodings, events, strict=True)]
    good, victims = records[::8], [record for index, record in enumerate(records) if index % 8]
    broken = [again(record) | {"body": mutilated(source, record["body"])} for record in victims]
    answer = world.invoke([*good[:25], *broken, *good[25:]])
    assert not answer.failed & {record["messageId"] for record in good}
    assert answer.failed
    for record in broken:
        reasons = [entry["reason"] for entry in answer.entries(record)]
        assert len(reasons) == (record["messageId"] in answer.failed)
        assert all(reasons)
    stored = {item["eventData"] for item in world.events().values()}
    assert {event.data_text for event in events[::8]} <= stored
    assert world.outbox() == []


def mutilated(source: random.Random, body: str) -> str:
    """A body with one to three places damaged."""
    for _ in range(source.randrange(1, 4)):
        at = source.randrange(len(body))
        piece = body[at : at + source.choice([1, 1, 2, 20])]
        damage = ["", piece * 2, piece[::-1], *'"{}[]:,\\0eE-.', "\0", "\ud800", "\\u0000", "null", "1e400"]
        body = body[:at] + source.choice(damage) + body[at + len(piece) :]
    return body


def test_a_record_is_answered_and_logged_by_its_own_id(world: World) -> None:
    """Records that fail are answered by their own SQS id, not by SNS's or the event's."""
    good = captured("reminder-created.wrapped.json")["create-push-url"]
    bad = captured("reminder-created.wrapped.json")["create-year-60000"]
    answer = world.invoke([bad, good, again(bad)])
    assert len(answer.failed) == len([bad, bad])
    assert bad["messageId"] in answer.failed
    (entry,) = answer.entries(bad)
    assert entry["message_id"] == bad["messageId"]
    assert entry["event_type"] == "reminder:created"
    assert entry["field"] == "eventData.date"
