import json
from typing import Any

import pytest

from event_service.domain.envelope import open_envelope
from event_service.domain.event import Event
from event_service.domain.formats import read_event
from event_service.errors import Rejected
from event_service.pipeline import parse
from tests.unit.messages import REMINDER, SENT, cloud_event, legacy, native, raw, wrapped

Json = dict[str, Any]
UPDATED_AT = "2026-11-23T06:54:06.410000Z"
PUBLISHED = "2026-11-23T06:59:16.123000Z"


def read(record: Json) -> Event:
    return read_event(open_envelope(record))


def rejection(record: Json) -> tuple[str, str | None]:
    with pytest.raises(Rejected) as caught:
        read(record)
    return caught.value.reason, caught.value.field


def test_a_wrapped_legacy_event_takes_the_id_of_the_notification() -> None:
    """And the type from its message attributes, not from the record's."""
    event = read(wrapped(legacy()))
    assert (event.id, event.event_type, event.item_type, event.item_id) == (
        "sns-1",
        "reminder:created",
        "reminder",
        "item-1",
    )
    assert (event.user_id, event.user_email, event.causation_id) == ("user-a", "alice@example.com", None)
    assert event.key == ("reminder#item-1", f"{UPDATED_AT}#sns-1")


def test_the_id_of_a_raw_event_survives_a_redrive() -> None:
    """A new SQS message id does not make it another event; another type or body does."""
    one = read(raw(legacy()))
    assert one.id == read(raw(legacy()) | {"messageId": "sqs-2"}).id
    assert one.id != read(raw(legacy(), "reminder:updated")).id
    assert one.id != read(raw(legacy(itemId="item-2"))).id


def test_the_body_of_a_native_event_wins_over_its_attributes() -> None:
    """Its id, time and type are its own."""
    event = read(wrapped(native(), "reminder:created"))
    assert (event.id, event.event_type, event.causation_id) == ("event-1", "reminder:updated", "cause-1")
    assert event.occurred_at == "2026-11-23T07:00:00.000000Z"


def test_a_cloud_event_needs_no_attributes() -> None:
    """Its id is source and id; its subject is the item."""
    event = read(raw(cloud_event(), None))
    assert (event.id, event.item_id, event.user_id) == ("/reminders/event-1", "item-1", "user-a")
    assert event.occurred_at == "2026-11-23T07:00:00.000000Z"
    assert json.loads(event.data) == REMINDER


def test_event_data_is_kept_as_it_came() -> None:
    """Digits, order, repeated keys and white space are in the text."""
    data = '{ "b": 1.10, "a":[ 1e400 ], "b": 2 }'
    body = f'{{"userId":"u","itemId":"i","eventData": {data} ,"x":0}}'
    assert read(raw(body, "order:placed")).data == data
    in_cloud_event = json.dumps(cloud_event(data=None))[:-1] + f',"data":{{"userId":"u","eventData":{data}}}}}'
    assert read(raw(in_cloud_event, None)).data == data


@pytest.mark.parametrize(
    ("record", "occurred_at"),
    [
        (raw(legacy()), UPDATED_AT),
        (wrapped(legacy()), UPDATED_AT),
        (raw(legacy(), "order:placed"), SENT),
        (wrapped(legacy(), "order:placed"), PUBLISHED),
        (raw(legacy({"date": REMINDER["date"], "updatedAt": "yesterday"})), SENT),
        (raw(legacy({"date": REMINDER["date"], "updatedAt": 1795416846438})), SENT),
        (raw(legacy(), "reminder:deleted"), SENT),
        (wrapped(legacy(), "reminder:deleted"), PUBLISHED),
        (wrapped(legacy({"updatedAt": "2027-01-01T00:00:00Z"}), "reminder:deleted"), "2027-01-01T00:00:00.000000Z"),
        (wrapped(legacy({}), "notification:delete"), PUBLISHED),
        (wrapped(legacy(), Timestamp="never"), UPDATED_AT),
        (raw(legacy(occurredAt="2026-01-01T00:00:00Z")), "2026-01-01T00:00:00.000000Z"),
    ],
)
def test_when_an_event_occurred(record: Json, occurred_at: str) -> None:
    """Its own time; else the producer's clock for the known types; else the envelope's; for a deletion the later."""
    assert read(record).occurred_at == occurred_at


@pytest.mark.parametrize(
    ("record", "field"),
    [
        (raw(legacy(userId=7)), "userId"),
        (raw(legacy(userId="")), "userId"),
        (raw(legacy(userId="x" * 257)), "userId"),
        (raw(legacy() | {"userEmail": 5}), "userEmail"),
        (raw(legacy(itemId=None)), "itemId"),
        (raw(legacy(itemId=["x"])), "itemId"),
        (raw({**legacy(), "eventData": "x"}), "eventData"),
        (raw({**legacy(), "eventData": None}), "eventData"),
        (raw(legacy(), None), "eventType"),
        (raw(legacy(), "reminder"), "eventType"),
        (raw(legacy(), "Reminder:created"), "eventType"),
        (raw(legacy(), "reminder:created\n"), "eventType"),
        (raw(legacy(), "a:" + "b" * 63), "eventType"),
        (raw(legacy(), "reminder:created", "order"), "itemType"),
        (raw(native(itemType="order"), None), "itemType"),
        (raw(native(itemType=""), None), "itemType"),
        (raw(native(occurredAt=None), None), "occurredAt"),
        (raw(native(occurredAt="soon"), None), "occurredAt"),
        (raw(native(id=""), None), "id"),
        (raw(native(id=1), None), "id"),
        (raw(native() | {"id": None}, None), "id"),
        (raw(native(id="x" * 257), None), "id"),
        (raw(native(id="\u20ac" * 301), None), "id"),
        (raw(native(causationId=1), None), "causationId"),
        (raw(cloud_event(specversion="0.3"), None), "specversion"),
        (raw(cloud_event(time=None), None), "time"),
        (raw(cloud_event(source=""), None), "source"),
        (raw(cloud_event(subject=None), None), "subject"),
        (raw(cloud_event(id="x" * 256), None), "id"),
        (raw(cloud_event(data={"userId": "u"}), None), "data.eventData"),
        (raw(cloud_event(data={"userId": "", "eventData": {}}), None), "data.userId"),
        (wrapped(legacy(), MessageId=None), "MessageId"),
        (wrapped(legacy(), MessageId=""), "id"),
        (wrapped(legacy(), Message=1), "Message"),
        (wrapped(legacy(), "order:placed", Timestamp=None), "Timestamp"),
        (raw(legacy(), "order:placed") | {"attributes": {}}, "attributes.SentTimestamp"),
        (raw("{}") | {"body": None}, "body"),
    ],
)
def test_a_field_that_is_missing_empty_or_ill_typed_is_named(record: Json, field: str) -> None:
    """By its path in the format it came in."""
    assert rejection(record) == ("invalid_field", field)


@pytest.mark.parametrize(
    "record",
    [
        raw(legacy(userEmail=None)),
        raw(legacy() | {"userEmail": None}),
        raw(legacy(userId="x" * 256, itemId="\u20ac" * 256)),
        raw(native(id="\u20ac" * 256, causationId=None) | {"causationId": None}, None),
        raw(native(id="x" * 256, itemType="reminder"), None),
        raw(legacy(), "a:" + "b" * 62),
        raw(legacy(), "order.item-2:placed_again", "order.item-2"),
        raw(cloud_event(itemtype="reminder"), "order:placed"),
        raw(legacy() | {"Type": "Note"}),
    ],
)
def test_what_the_contract_allows_is_read(record: Json) -> None:
    """Limits are inclusive, optional fields optional, further fields of no concern."""
    assert read(record).user_id


def test_every_problem_is_told_and_no_value() -> None:
    """A producer sees at once what is wrong, and the log no personal data."""
    body = {"userId": 1, "userEmail": ["bob@example.com"], "itemId": "", "eventData": {}}
    with pytest.raises(Rejected) as caught:
        read(raw(body))
    text = str(caught.value)
    assert all(name in text for name in ("userId", "userEmail", "itemId"))
    assert "bob" not in text


def test_a_message_that_is_not_json_is_told_from_a_body_that_is_not() -> None:
    """The field says which of the two documents is at fault."""
    assert rejection(wrapped("{")) == ("not_json", "Message")
    assert rejection(raw("{")) == ("not_json", "body")


def test_a_record_that_brings_out_a_bug_fails_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its reason has the place and not the text, which may quote the event."""

    def buggy(_: Any) -> None:
        raise KeyError("alice@example.com")

    monkeypatch.setattr("event_service.pipeline.project", buggy)
    entry = parse(raw(legacy()))
    assert entry.error is not None
    assert entry.error.reason == "internal"
    assert str(entry.error).startswith("KeyError at test_formats.py:")
    assert "alice" not in str(entry.error)
