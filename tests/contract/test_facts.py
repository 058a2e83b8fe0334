"""§4: what a published fact looks like, and that it has no effect when it comes back."""

import json

from tests.support.messages import ADDRESS, native, nested, noise, raw, reminder_data, sent, text, wrapped
from tests.support.oracle import exact_json
from tests.support.world import World, without_ids


def test_a_fact_that_comes_back_has_no_effect(world: World) -> None:
    """Whole or truncated, raw or wrapped, a published fact is a duplicate: no item, no row, no fact more."""
    large = reminder_data(message=noise(300_000))
    world.accept(sent(native(id="1")), sent(native(id="2", itemId="R2", eventData=large)))
    published = world.published()
    assert len(published) == len(["whole", "truncated"])
    before = (world.items(), world.rows())
    world.accept(*(raw(m.text, m.attributes) for m in published), *(wrapped(m.text, m.attributes) for m in published))
    for message in published:
        stored = world.facts_stored()[message.body["id"]]["eventData"]
        whole = json.loads(message.text)
        whole["eventData"] = json.loads(stored)
        world.accept(raw(text(whole), message.attributes))
    assert (world.items(), world.rows()) == before
    assert world.published() == []
    assert world.outbox() == []


def test_an_event_that_only_looks_like_a_fact_loses_nothing(world: World) -> None:
    """Another producer's event of a fact's type keeps its user: it is about no notification of this service."""
    kinds = {"eventType": "notification:created", "itemType": "notification"}
    datas = {
        "none": {"x": 1},
        "other": {"userId": "other", "userEmail": 5},
        "same": {"userId": "zed", "itemId": "item-1"},
    }
    world.accept(*(sent(native(id=name, userId="zed", eventData=data, **kinds)) for name, data in datas.items()))
    assert {item["id"]: item.get("userId") for item in world.items().values()} == dict.fromkeys(datas, "zed")
    assert (world.rows(), world.published()) == ({}, [])


def test_the_fact_of_the_deepest_event_can_come_back(world: World) -> None:
    """An event of 64 levels has a fact of 65, which is a duplicate all the same when it comes back."""
    world.accept(sent(native(eventData=reminder_data(x=nested(62)))))
    (message,) = world.published()
    before = world.items()
    world.accept(raw(message.text, message.attributes))
    assert world.items() == before


def test_a_fact_that_comes_back_changed_is_refused(world: World) -> None:
    """Only the truncated form may differ; of a fact, userId and userEmail are not compared."""
    world.accept(sent(native()))
    (message,) = world.published()
    before = world.items()
    fact = json.loads(message.text)
    data = fact["eventData"]
    truncated = data | {"notificationData": None, "truncated": True}
    cases = {
        "good other user": fact | {"userId": "user-z", "userEmail": None},
        "good truncated": fact | {"eventData": truncated},
        "cause": fact | {"causationId": "other"},
        "data": fact | {"eventData": data | {"itemId": "R9"}},
        "truncated and changed": fact | {"eventData": truncated | {"itemId": "R9"}},
        "emptied, not marked": fact | {"eventData": data | {"notificationData": None}},
    }
    records = {name: raw(text(body), message.attributes) for name, body in cases.items()}
    answer = world.invoke(list(records.values()))
    refused_cases = {name for name, record in records.items() if record["messageId"] in answer.failed}
    assert refused_cases == {name for name in cases if not name.startswith("good")}
    assert world.items() == before
    assert world.published() == []


def test_a_fact_is_a_native_event_with_its_attributes(world: World) -> None:
    """The message, its attributes and the stored item of a fact are those of §4."""
    world.accept(sent(native()))
    (message,) = world.published()
    row = world.row()
    data = reminder_data() | {"userEmail": ADDRESS, "reminderId": "item-1", "url": ""}
    occurred_at = "2026-11-23T06:00:00.000000Z"
    assert without_ids(message.body, str(row["id"])) == {
        "eventType": "notification:created",
        "itemType": "notification",
        "userId": "user-a",
        "userEmail": ADDRESS,
        "occurredAt": occurred_at,
        "causationId": "event-1",
        "eventData": {
            "userId": "user-a",
            "userEmail": ADDRESS,
            "itemType": "reminder",
            "itemId": "item-1",
            "deliverAt": "2027-01-01T08:00:00.000000Z",
            "notificationData": data,
            "createdAt": occurred_at,
            "updatedAt": occurred_at,
        },
    }
    assert message.attributes == {
        "eventItemType": "notification",
        "eventType": "notification:created",
        "userId": "user-a",
    }
    (item,) = world.facts_stored().values()
    assert item["pk"] == f"notification#{row['id']}"
    assert item["sk"] == f"{occurred_at}#{message.body['id']}"
    assert "userId" not in item
    assert item["causationId"] == "event-1"
    assert exact_json(item["eventData"]) == message.body["eventData"]
