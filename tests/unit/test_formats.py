import json
from typing import Any

import pytest

from event_service.domain.envelope import open_envelope
from event_service.domain.event import Event, notification_id
from event_service.domain.formats import read_event
from event_service.errors import Rejected
from event_service.steps.parse import parse
from tests.support.messages import ADDRESS, CREATED, cloud_event, legacy, native, raw, reminder_data, wrapped

Json = dict[str, Any]
UPDATED_AT = "2026-11-23T06:00:00.000000Z"  # of the reminder
PUBLISHED = SENT = "2026-11-23T12:00:00.000000Z"  # by default; wrapped records are sent later


def read(record: Json) -> Event:
    return read_event(open_envelope(record))


def rejection(record: Json) -> tuple[str, str | None]:
    with pytest.raises(Rejected) as caught:
        read(record)
    return caught.value.reason, caught.value.field


def test_a_wrapped_legacy_event_takes_the_id_of_the_notification() -> None:
    """And the type from its message attributes, not from the record's."""
    event = read(wrapped(legacy(), CREATED, MessageId="sns-1"))
    assert (event.id, event.event_type, event.item_type, event.item_id) == (
        "sns-1",
        "reminder:created",
        "reminder",
        "item-1",
    )
    assert (event.user_id, event.user_email, event.causation_id) == ("user-a", ADDRESS, None)
    assert event.key == ("reminder#item-1", f"{UPDATED_AT}#sns-1")


def test_the_id_of_a_raw_event_survives_a_redrive() -> None:
    """A new SQS message id does not make it another event; another type or body does."""
    one = read(raw(legacy(), CREATED))
    assert one.id == read(raw(legacy(), CREATED) | {"messageId": "sqs-2"}).id
    assert one.id != read(raw(legacy(), "reminder:updated")).id
    assert one.id != read(raw(legacy(itemId="item-2"), CREATED)).id


def test_the_body_of_a_native_event_wins_over_its_attributes() -> None:
    """Its id, time and type are its own."""
    own = {"occurredAt": "2026-11-23T08:00:00+01:00", "eventType": "reminder:updated", "causationId": "cause-1"}
    event = read(wrapped(native(**own), CREATED))
    assert (event.id, event.event_type, event.causation_id) == ("event-1", "reminder:updated", "cause-1")
    assert event.occurred_at == "2026-11-23T07:00:00.000000Z"


def test_a_cloud_event_needs_no_attributes() -> None:
    """Its id is source and id; its subject is the item."""
    event = read(raw(cloud_event()))
    assert (event.id, event.item_id, event.user_id) == ("/reminders 1", "item-1", "user-a")
    assert event.occurred_at == "2026-11-23T06:00:00.000000Z"
    assert json.loads(event.data) == reminder_data()


def test_event_data_is_kept_as_it_came() -> None:
    """Digits, order, repeated keys and white space are in the text."""
    data = '{ "b": 1.10, "a":[ 1e400 ], "b": 2 }'
    body = f'{{"userId":"u","itemId":"i","eventData": {data} ,"x":0}}'
    assert read(raw(body, "order:placed")).data == data
    in_cloud_event = json.dumps(cloud_event(data=...))[:-1] + f',"data":{{"userId":"u","eventData":{data}}}}}'
    assert read(raw(in_cloud_event)).data == data


@pytest.mark.parametrize(
    ("record", "occurred_at"),
    [
        (raw(legacy(), CREATED), UPDATED_AT),
        (wrapped(legacy(), CREATED), UPDATED_AT),
        (raw(legacy(), "order:placed"), SENT),
        (wrapped(legacy(), "order:placed"), PUBLISHED),
        (raw(legacy(eventData={"date": reminder_data()["date"], "updatedAt": "yesterday"}), CREATED), SENT),
        (raw(legacy(eventData={"date": reminder_data()["date"], "updatedAt": 1795416846438}), CREATED), SENT),
        (raw(legacy(), "reminder:deleted"), SENT),
        (wrapped(legacy(), "reminder:deleted"), PUBLISHED),
        (
            wrapped(legacy(eventData={"updatedAt": "2027-01-01T00:00:00Z"}), "reminder:deleted"),
            PUBLISHED,
        ),
        (wrapped(legacy(eventData=reminder_data(updatedAt="2027-01-01T00:00:00Z")), CREATED), PUBLISHED),
        (raw(legacy(eventData=reminder_data(updatedAt="9999-12-31T23:59:59Z")), "reminder:updated"), SENT),
        (raw(legacy(eventData=reminder_data(updatedAt="1969-12-31T23:59:59Z")), CREATED), SENT),
        (wrapped(legacy(), "order:placed", Timestamp="2026-11-23T12:00:00Z"), "2026-11-23T12:00:00.999999Z"),
        (raw(legacy(), {"eventType": "order:placed", "firstSentAt": "1795416846438"}), "2026-11-23T06:54:06.438000Z"),
        (wrapped(legacy(), {"eventType": "order:placed", "firstSentAt": "1795416846438"}), PUBLISHED),
        (wrapped(legacy(), "notification:delete"), PUBLISHED),
        (wrapped(legacy(), CREATED, Timestamp="never"), UPDATED_AT),
        (raw(legacy(occurredAt="2026-01-01T00:00:00Z"), CREATED), "2026-01-01T00:00:00.000000Z"),
        (raw(native(occurredAt="2026-11-24T12:00:00Z")), "2026-11-24T12:00:00.000000Z"),
    ],
)
def test_when_an_event_occurred(record: Json, occurred_at: str) -> None:
    """Its own time; else the producer's clock, at most the envelope's time, for changes; else the envelope's time."""
    assert read(record).occurred_at == occurred_at


@pytest.mark.parametrize(
    ("record", "field"),
    [
        (raw(legacy(userId=7), CREATED), "userId"),
        (raw(legacy(userId=""), CREATED), "userId"),
        (raw(legacy(userId="x" * 257), CREATED), "userId"),
        (raw(legacy() | {"userEmail": 5}, CREATED), "userEmail"),
        (raw(legacy(itemId=...), CREATED), "itemId"),
        (raw(legacy(itemId=["x"]), CREATED), "itemId"),
        (raw({**legacy(), "eventData": "x"}, CREATED), "eventData"),
        (raw({**legacy(), "eventData": None}, CREATED), "eventData"),
        (raw(legacy()), "eventType"),
        (raw(legacy(), "reminder"), "itemType"),
        (raw(legacy(), "Reminder:created"), "itemType"),
        (raw(legacy(), "a" * 65 + ":b"), "itemType"),
        (raw(legacy(), "reminder:created\n"), "eventType"),
        (raw(legacy(), "1st:created"), "eventType"),
        (raw(legacy(), "a:" + "b" * 127), "eventType"),
        (raw(legacy(), {"eventType": "placed", "eventItemType": "Order"}), "itemType"),
        (raw(legacy(), {"eventType": "reminder:created", "eventItemType": "order"}), "itemType"),
        (raw(native(itemType="order")), "itemType"),
        (raw(native(itemType="")), "itemType"),
        (raw(native(occurredAt=...)), "occurredAt"),
        (raw(native(occurredAt="soon")), "occurredAt"),
        (raw(native(occurredAt="2026-11-24T12:00:00.001Z")), "occurredAt"),
        (raw(cloud_event(time="9999-12-31T23:59:59Z")), "occurredAt"),
        (raw(native(id="")), "id"),
        (raw(native(id=1)), "id"),
        (raw(native(id="x" * 257)), "id"),
        (raw(native(id="\u20ac" * 301)), "id"),
        (raw(native(causationId=1)), "causationId"),
        (raw(cloud_event(specversion="0.3")), "specversion"),
        (raw(cloud_event(time=...)), "time"),
        (raw(cloud_event(source="")), "source"),
        (raw(cloud_event(subject=...)), "subject"),
        (raw(cloud_event(id="x" * 256)), "id"),
        (raw(cloud_event(data={"userId": "u"})), "data.eventData"),
        (raw(cloud_event(data={"userId": "", "eventData": {}})), "data.userId"),
        (wrapped(legacy(), CREATED, MessageId=None), "MessageId"),
        (wrapped(legacy(), CREATED, MessageId=""), "id"),
        (wrapped(legacy(), CREATED, Message=1), "Message"),
        (wrapped(legacy(), "order:placed", Timestamp=None), "Timestamp"),
        (raw(legacy(), "order:placed") | {"attributes": {}}, "attributes.SentTimestamp"),
        (raw("{}", CREATED) | {"body": None}, "body"),
    ],
)
def test_a_field_that_is_missing_empty_or_ill_typed_is_named(record: Json, field: str) -> None:
    """By its path in the format it came in."""
    assert rejection(record) == ("invalid_field", field)


@pytest.mark.parametrize(
    "record",
    [
        raw(legacy(userEmail=...), CREATED),
        raw(legacy() | {"userEmail": None}, CREATED),
        raw(legacy(userId="x" * 256, itemId="\u20ac" * 256), CREATED),
        raw(native(id="\u20ac" * 256, causationId=...) | {"causationId": None}),
        raw(native(id="x" * 256, itemType="reminder")),
        raw(legacy(), "a:" + "b" * 126),
        raw(legacy(), {"eventType": "com.example/Order-Placed", "eventItemType": "order"}),
        raw(legacy(), {"eventType": "placed", "eventItemType": "order"}),
        raw(native(itemType=None, userEmail=None, causationId=None, specversion=None)),
        raw(native(id=None, occurredAt=None)),
        raw(native(eventType=None), CREATED),
        raw(cloud_event(itemtype=None, causationid=None)),
        raw(legacy(), CREATED) | {"attributes": None},
        raw(native()) | {"attributes": None, "messageAttributes": None},
        raw(legacy(), {"eventType": "order.item-2:placed_again", "eventItemType": "order.item-2"}),
        raw(cloud_event(itemtype="reminder"), "order:placed"),
        raw(legacy() | {"Type": "Note"}, CREATED),
    ],
)
def test_what_the_contract_allows_is_read(record: Json) -> None:
    """Limits are inclusive, optional fields optional, further fields of no concern."""
    assert read(record).user_id


def test_every_problem_is_reported_without_values() -> None:
    """A producer sees at once what is wrong, and the log no personal data."""
    body = {"userId": 1, "userEmail": ["bob@example.com"], "itemId": "", "eventData": {}}
    with pytest.raises(Rejected) as caught:
        read(raw(body, CREATED))
    text = str(caught.value)
    assert all(name in text for name in ("userId", "userEmail", "itemId"))
    assert "bob" not in text


def test_a_message_that_is_not_json_is_distinguished_from_such_a_body() -> None:
    """The field says which of the two documents is at fault."""
    assert rejection(wrapped("{", CREATED)) == ("not_json", "Message")
    assert rejection(raw("{", CREATED)) == ("not_json", "body")


def test_a_record_that_brings_out_a_bug_fails_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its reason has the place and not the text, which may quote the event."""

    def buggy(*_: Any) -> None:
        raise KeyError("alice@example.com")

    monkeypatch.setattr("event_service.steps.parse.project", buggy)
    entry = parse(raw(legacy(), CREATED))
    assert entry.error is not None
    assert entry.error.reason == "internal"
    assert str(entry.error).startswith("KeyError at test_formats.py:")
    assert "alice" not in str(entry.error)


def test_an_event_is_a_fact_if_its_data_and_its_id_are_those_of_a_notification() -> None:
    """Another producer's event of the same type keeps its user, which a fact has in its data only."""
    data = {"userId": "user-a", "itemType": "reminder", "itemId": "item-1"}
    id_ = notification_id("user-a", "reminder", "item-1")
    fact = native(eventType="notification:created", itemId=id_, eventData=data)
    assert read(raw(fact)).is_fact
    for changes in ({"userId": "other"}, {"itemType": "invoice"}, {"itemId": "item-2"}):
        assert not read(raw(fact | {"eventData": data | changes})).is_fact


def test_an_event_whose_envelope_has_no_usable_time_was_published_when_it_was_sent() -> None:
    """If it has its own time, it is accepted; whether the service is late with it depends on this."""
    envelope = open_envelope(wrapped(native(), Timestamp="soon"))
    assert envelope.published_at_or_none() == "2026-11-23T12:10:00.000000Z"
