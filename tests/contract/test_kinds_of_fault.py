"""Kinds of faults in real messages, each with several inputs: what is accepted, or which field is rejected."""

import importlib
import json
from pathlib import Path
from typing import Any

import pytest

from event_service.domain.event import Event
from event_service.domain.formats import read_event
from event_service.steps.parse import ParsedRecord, parse
from tests.support.messages import (
    CREATED,
    DELETED,
    REMINDER,
    UPDATED,
    Record,
    cloud_event,
    legacy,
    native,
    raw,
    reminder_data,
    text,
    wrapped,
)
from tests.support.world import World

INPUTS = Path(__file__).parent.parent / "inputs"
CAPTURES = Path(__file__).parent.parent / "captures"
BOM = "\ufeff"
OPTIONAL = {
    "native": (native, ["userEmail", "itemType", "causationId"]),
    "native without its own id": (lambda **changes: native(**{"id": None} | changes), ["userEmail", "itemType"]),
    "legacy": (legacy, ["userEmail", "id", "occurredAt", "eventType", "itemType", "causationId"]),
    "CloudEvent": (cloud_event, ["itemtype", "causationid"]),
}
NULLED = [(format_, name) for format_, (_, names) in OPTIONAL.items() for name in [*names, "dataschema", "unknown"]]


def records(name: str) -> list[Record]:
    """The records of an input, or the one record that its event makes."""
    content = (INPUTS / name).read_text(encoding="utf-8")
    found = json.loads(content.removeprefix(BOM))
    return list(found["Records"]) if "Records" in found else [raw(content)]


def accepted(record: Record) -> Event:
    """The event in a record, which must be accepted."""
    parsed = parse(record)
    assert parsed.error is None, parsed.error
    assert parsed.event
    return parsed.event


def refused(record: Record) -> tuple[str, str | None]:
    """Reason and field with which a record is rejected."""
    parsed: ParsedRecord = parse(record)
    assert parsed.error is not None
    return parsed.error.reason, parsed.error.field


@pytest.mark.parametrize(("format_", "name"), NULLED)
@pytest.mark.parametrize("envelope", [raw, wrapped])
def test_null_in_an_optional_field_means_that_it_is_absent(format_: str, name: str, envelope: Any) -> None:
    build, _ = OPTIONAL[format_]
    with_null, without = build(**{name: None}), build(**{name: ...})
    events = [accepted(envelope(body, REMINDER, **_ids(envelope))) for body in (with_null, without)]
    if events[1].id.count("-") != 4:  # a raw event without an id has one that is computed from its text
        assert events[0] == events[1]


def _ids(envelope: Any) -> dict[str, Any]:
    return {"MessageId": "message"} if envelope is wrapped else {}


@pytest.mark.parametrize("build", [native, legacy])
def test_specversion_null_does_not_make_a_cloud_event(build: Any) -> None:
    assert accepted(raw(build(specversion=None), REMINDER)).event_type == CREATED


def test_null_in_data_means_that_it_is_absent() -> None:
    data = cloud_event()["data"] | {"userEmail": None}
    assert accepted(raw(cloud_event(data=data))).user_email is None


@pytest.mark.parametrize("name", ["id", "source", "type", "time", "subject", "data"])
def test_null_in_a_required_field_is_rejected_by_name(name: str) -> None:
    assert refused(raw(cloud_event(**{name: None}))) == ("invalid_field", name)


@pytest.mark.parametrize("name", ["userId", "itemId", "eventData"])
@pytest.mark.parametrize("build", [native, legacy])
def test_null_in_a_required_field_of_the_other_formats_is_rejected_by_name(build: Any, name: str) -> None:
    assert refused(raw(build(**{name: None}), REMINDER)) == ("invalid_field", name)


@pytest.mark.parametrize("name", ["cloudevent-null-attribute.json", "native-null-optional.json", "bom.json"])
def test_the_reported_inputs_are_accepted(name: str) -> None:
    for record in records(name):
        accepted(record)


@pytest.mark.parametrize("record", [
    raw(BOM + text(native())),
    wrapped(BOM + text(native())),
    raw(BOM + wrapped(native())["body"]),
    raw(BOM + wrapped(BOM + text(native()))["body"]),
    raw(BOM + text(cloud_event())),
])  # fmt: skip
def test_a_byte_order_mark_before_the_json_is_ignored(record: Record) -> None:
    accepted(record)


def test_a_byte_order_mark_inside_the_event_is_kept() -> None:
    assert BOM in accepted(raw(native(eventData=reminder_data(message=BOM)))).data


@pytest.mark.parametrize("name", ["attributes", "messageAttributes"])
@pytest.mark.parametrize("value", [None, {}, [], "x"])
def test_sqs_fields_may_be_null(name: str, value: Any) -> None:
    """An event with its own id and time does not need them."""
    accepted(raw(native()) | {name: value})


@pytest.mark.parametrize("value", [None, {}, {"SentTimestamp": None}, {"SentTimestamp": ""}])
def test_an_event_without_a_time_names_the_attribute_that_is_missing(value: Any) -> None:
    assert refused(raw(legacy(eventData=reminder_data(updatedAt=...)), REMINDER) | {"attributes": value}) == (
        "invalid_field",
        "attributes.SentTimestamp",
    )


@pytest.mark.parametrize("body", [None, 5, {}, ...])
def test_a_record_without_a_body_is_rejected_by_name(body: Any) -> None:
    record = raw(native()) | {"body": body}
    if body is ...:
        del record["body"]
    assert refused(record) == ("invalid_field", "body")


@pytest.mark.parametrize("value", [None, {"stringValue": None}, {"stringValue": 5}, "x", {"binaryValue": "eA=="}])
def test_a_message_attribute_without_text_counts_as_absent(value: Any) -> None:
    record = raw(native()) | {"messageAttributes": {"eventType": value, "other": value}}
    assert accepted(record).event_type == CREATED


def test_two_sources_never_share_an_id() -> None:
    """A space cannot occur in a URI reference, so `source` and `id` can be told apart."""
    first, second = (accepted(record) for record in records("ce-identity.json"))
    assert (first.id, second.id) == ("/a b/c", "/a/b c")
    pairs = [("/a", "b c"), ("/a/b", "c"), ("/a", "b"), ("/a/", "b"), ("", "x")]
    ids = [parse(raw(cloud_event(source=source, id=id_))) for source, id_ in pairs]
    assert len({each.event.id for each in ids if each.event}) == len(pairs) - 1
    assert ids[-1].error
    assert ids[-1].error.field == "source"


@pytest.mark.parametrize(
    "updated_at", ["9999-12-31T23:59:59Z", "2027-01-01T00:00:00+05:00", "2026-11-23T12:00:00.001Z"]
)
@pytest.mark.parametrize("envelope", [raw, wrapped])
def test_an_event_is_not_later_than_its_publication(updated_at: str, envelope: Any) -> None:
    event = accepted(envelope(legacy(eventData=reminder_data(updatedAt=updated_at)), REMINDER))
    assert event.occurred_at == "2026-11-23T12:00:00.000000Z"


@pytest.mark.parametrize("updated_at", ["2026-11-23T06:00:00Z", "2026-11-23T11:00:00+05:00", "1970-01-01T00:00:00Z"])
def test_the_producers_clock_counts_if_it_is_earlier(updated_at: str) -> None:
    event = accepted(raw(legacy(eventData=reminder_data(updatedAt=updated_at)), REMINDER))
    assert event.occurred_at < "2026-11-23T12"


@pytest.mark.parametrize("updated_at", ["1969-12-31T23:59:59Z", "0001-01-01T00:00:00Z", None, "soon", 5])
def test_an_unusable_updated_at_is_ignored(updated_at: Any) -> None:
    event = accepted(raw(legacy(eventData=reminder_data(updatedAt=updated_at)), REMINDER))
    assert event.occurred_at == "2026-11-23T12:00:00.000000Z"


@pytest.mark.parametrize(("build", "name"), [(native, "occurredAt"), (cloud_event, "time")])
@pytest.mark.parametrize(("time", "is_accepted"), [
    ("2026-11-24T12:00:00Z", True),
    ("2026-11-24T17:00:00+05:00", True),
    ("2026-11-24T12:00:00.000001Z", False),
    ("2026-11-24T08:00:00-05:00", False),
    ("9999-12-31T23:59:59Z", False),
])  # fmt: skip
def test_an_own_time_more_than_a_day_after_the_sending_is_rejected(
    build: Any, name: str, time: str, is_accepted: bool
) -> None:
    """One wrong clock must not decide an item forever. The field is that of the canonical event."""
    record = raw(build(**{name: time}))
    if is_accepted:
        accepted(record)
    else:
        assert refused(record) == ("invalid_field", "occurredAt")


@pytest.mark.parametrize(("timestamp", "occurred_at"), [
    ("2026-11-23T12:00:00.123Z", "2026-11-23T12:00:00.123000Z"),
    ("2026-11-23T12:00:00.000Z", "2026-11-23T12:00:00.000000Z"),
    ("2026-11-23T12:00:00Z", "2026-11-23T12:00:00.999999Z"),
    ("2026-11-23T14:00:00+02:00", "2026-11-23T12:00:00.999999Z"),
])  # fmt: skip
def test_an_sns_timestamp_without_a_fraction_is_the_end_of_its_second(timestamp: str, occurred_at: str) -> None:
    assert accepted(wrapped(legacy(), DELETED, Timestamp=timestamp)).occurred_at == occurred_at


@pytest.mark.parametrize("event_type", [DELETED, "order:placed"])
def test_a_redriven_record_has_the_time_of_its_first_sending(event_type: str) -> None:
    attributes = {"eventType": event_type, "firstSentAt": "1795416846410"}
    assert accepted(raw(legacy(), attributes)).occurred_at == "2026-11-23T06:54:06.410000Z"
    assert accepted(raw(native(eventType=event_type, itemType=...), attributes)).occurred_at.startswith(
        "2026-11-23T06:00"
    )


@pytest.mark.parametrize("value", ["", "soon", "1e3", "-", "9" * 30])
def test_an_unusable_time_of_first_sending_is_rejected_by_name(value: str) -> None:
    record = raw(legacy(), {"eventType": DELETED, "firstSentAt": value})
    assert refused(record) == ("invalid_field", "messageAttributes.firstSentAt")


ACCEPTED_TYPES = [("a:b", "a"), ("order:Placed/v2", "order"), ("o-r.d_e:x:y", "o-r.d_e"), ("x" * 64 + ":y", "x" * 64)]
REFUSED_TYPES = ["", "1a:b", ":b", "a b", "a:b\n", "é:b", "a" * 129, "a:b?", "_a:b"]
REFUSED_ITEM_TYPES = ["", "A", "1a", "a b", "a\n", "a:b", "a" * 65, "-a", "é", "a/b"]


@pytest.mark.parametrize(("event_type", "item_type"), ACCEPTED_TYPES)
def test_event_types_of_the_contract_are_accepted(event_type: str, item_type: str) -> None:
    assert accepted(raw(native(eventType=event_type, itemType=...))).item_type == item_type


@pytest.mark.parametrize("event_type", REFUSED_TYPES)
def test_other_event_types_are_rejected_by_name(event_type: str) -> None:
    assert refused(raw(native(eventType=event_type, itemType="a"))) == ("invalid_field", "eventType")
    assert refused(raw(cloud_event(type=event_type))) == ("invalid_field", "type")


@pytest.mark.parametrize("item_type", REFUSED_ITEM_TYPES)
def test_other_item_types_are_rejected_by_name(item_type: str) -> None:
    assert refused(raw(native(eventType="placed", itemType=item_type))) == ("invalid_field", "itemType")
    assert refused(raw(cloud_event(type="placed", itemtype=item_type)))[1] in ("itemtype", "itemType")


@pytest.mark.parametrize("event_type", ["A:b", "a/b:c", "X1:y"])
def test_a_prefix_that_is_not_an_item_type_is_rejected_by_name(event_type: str) -> None:
    assert refused(raw(native(eventType=event_type, itemType=...))) == ("invalid_field", "itemType")


def test_at_the_same_instant_the_update_wins_40_of_40_times(world: World) -> None:
    """Their ids are random: SNS gives each message one."""
    due = {CREATED: "2027-01-01T00:00:00Z", UPDATED: "2028-01-01T00:00:00Z"}
    batch = [
        wrapped(legacy(itemId=f"item-{n}", eventData={"date": date}), {"eventType": event_type})
        for n in range(40)
        for event_type, date in due.items()
    ]
    world.accept(*batch)
    assert [row["deliver_at"].year for row in world.rows().values()] == [2028] * 40


def test_the_reported_updates_at_the_instant_of_the_creation_win(world: World) -> None:
    world.accept(*records("same-instant.json"))
    assert {row["deliver_at"].year for row in world.rows().values()} == {2028}


@pytest.mark.parametrize(
    "order", [(CREATED, UPDATED, DELETED), (DELETED, UPDATED, CREATED), (UPDATED, DELETED, CREATED)]
)
def test_at_the_same_instant_a_deletion_wins(world: World, order: tuple[str, ...]) -> None:
    """In any order of delivery, whatever the ids."""
    for number, event_type in enumerate(order):
        world.accept(raw(native(id=f"{9 - number}", eventType=event_type)))
    assert world.row()["deleted_at"] is not None


def test_a_deletion_after_an_event_of_the_future_deletes(world: World) -> None:
    world.accept(*records("future-updatedAt.json"))
    assert world.row()["deleted_at"] is not None


def test_a_reminder_of_a_producer_in_another_time_zone_ends_up_deleted(world: World) -> None:
    captured = json.loads((CAPTURES / "reminder-timezone-shift.wrapped.json").read_text())
    world.accept(*(_delivered(each["message"]) for each in captured))
    rows = world.rows().values()
    assert rows
    assert all(row["deleted_at"] for row in rows)


def _delivered(message: dict[str, Any]) -> Record:
    """A message that `receive_message` returned, as Lambda delivers it."""
    return {
        "messageId": message["MessageId"],
        "body": message["Body"],
        "attributes": message.get("Attributes", {}),
        "messageAttributes": {
            name: {"stringValue": value["StringValue"], "dataType": "String"}
            for name, value in message.get("MessageAttributes", {}).items()
        },
        "eventSource": "aws:sqs",
    }


@pytest.mark.parametrize("character", ["\n", "\r", "\t", "\x01", "\x1f", "\x7f", "\x85", "\ufffe", "\uffff"])
def test_control_characters_in_an_attribute_are_replaced(world: World, character: str) -> None:
    """SNS or SQS would refuse or change the fact; its body has the original."""
    user = f"user{character}1"
    world.accept(raw(native(userId=user)))
    (fact,) = world.published()
    assert fact.attributes["userId"] == "user\ufffd1"
    assert fact.body["userId"] == user


def test_the_reported_attribute_with_a_control_character_is_replaced(world: World) -> None:
    world.accept(*records("fact-attribute-control.json"))
    (fact,) = world.published()
    assert fact.attributes["userId"] == "user-1\ufffd"


def test_half_an_emoji_reaches_row_and_fact_as_a_replacement_character(world: World) -> None:
    """The event store keeps the text in which it arrived."""
    body = text(native()).replace("Stand-up meeting", "cut \\ud83d")
    world.accept(raw(body))
    (fact,) = world.published()
    assert world.row()["notification_data"]["message"].startswith("cut \ufffd")
    assert fact.body["eventData"]["notificationData"]["message"].startswith("cut \ufffd")
    (item,) = world.events().values()
    assert "\\ud83d" in item["eventData"]


@pytest.mark.parametrize(
    "error", [KeyError("x"), UnicodeEncodeError("utf-8", "x", 0, 1, "no"), RecursionError(), OSError()]
)
def test_an_exception_of_any_class_fails_one_record_only(
    world: World, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Its text is not logged: it may quote the event."""

    def failing(envelope: Any) -> Event:
        if '"bad"' in envelope.text:
            raise error
        return read_event(envelope)

    monkeypatch.setattr("event_service.steps.parse.read_event", failing)
    good, bad = raw(native(id="good", itemId="good")), raw(native(id="bad", itemId="bad"))
    answer = world.invoke([bad, good])
    assert answer.failed == {bad["messageId"]}
    (entry,) = answer.entries(bad)
    assert entry["reason"] == "internal"
    assert type(error).__name__ in entry["error"]
    assert [row["item_id"] for row in world.rows().values()] == ["good"]


@pytest.mark.parametrize("step", [
    "event_service.steps.parse.check_size",
    "event_service.adapters.event_store.to_item",
    "event_service.adapters.notifications._request",
    "event_service.steps.relay.fact_of",
    "event_service.adapters.topics._fact_message",
])  # fmt: skip
def test_an_exception_at_any_step_fails_one_record_only(
    world: World, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """The other record's fact is published."""
    module, _, name = step.rpartition(".")
    original = getattr(importlib.import_module(module), name)

    def failing(subject: Any, *others: Any) -> Any:
        if "evil" in repr(subject):
            raise LookupError
        return original(subject, *others)

    monkeypatch.setattr(step, failing)
    good, bad = raw(native(id="good", itemId="good")), raw(native(id="evil", itemId="evil"))
    answer = world.invoke([bad, good])
    assert answer.failed == {bad["messageId"]}
    assert [fact.body["causationId"] for fact in world.published()] == ["good"]
