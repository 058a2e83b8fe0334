import json
from typing import Any

import pytest

from event_service.domain.envelope import open_envelope
from event_service.domain.event import KNOWN_TYPES, Event, notification_id
from event_service.domain.facts import (
    MAX_MESSAGE_BYTES,
    PendingFact,
    fact_of,
    may_be_truncated,
    message_of,
    same_fact_data,
    truncated,
)
from event_service.domain.formats import read_event
from event_service.domain.projection import project
from event_service.errors import Rejected
from tests.support.messages import legacy, raw, text

DATA: dict[str, Any] = {"date": "2026-11-23T09:00:00+01:00"}


def event(data: dict[str, Any] | str, event_type: str = "reminder:created", **fields: Any) -> Event:
    written = data if isinstance(data, str) else json.dumps(data)
    return read_event(open_envelope(raw(text(legacy(**fields, eventData=0)).replace(":0", f":{written}"), event_type)))


def project_event(event: Event) -> str:
    return project(event, KNOWN_TYPES[event.event_type])


def projected(*args: Any, **fields: Any) -> Any:
    return json.loads(project_event(event(*args, **fields)))


ID = notification_id("user-a", "reminder", "item-1")


def change(notification: str, sk: str = "2026-11-23T06:54:06.410000Z#event#1") -> PendingFact:
    return PendingFact("reminder#item-1", sk, "updated", ID, "user-a", "alice@example.com", notification)


def test_a_notification_is_the_reminder_enriched() -> None:
    """The delivery services find what they need in its data, and everything the producer sent."""
    notification = projected(DATA | {"url": "https://example.com", "x": [1], "userId": "someone else"})
    assert notification.pop("notificationData") == {
        **DATA,
        "url": "https://example.com",
        "x": [1],
        "userId": "user-a",
        "userEmail": "alice@example.com",
        "reminderId": "item-1",
        "message": "",
    }
    assert notification == {
        "id": notification_id("user-a", "reminder", "item-1"),
        "userId": "user-a",
        "userEmail": "alice@example.com",
        "itemType": "reminder",
        "itemId": "item-1",
        "deliverAt": "2026-11-23T08:00:00.000000Z",
        "updatedAt": "2026-11-23T12:00:00.000000Z",
    }


@pytest.mark.parametrize("value", [None, 5, ["x"], {"a": 1}])
def test_an_ill_typed_message_or_url_counts_as_absent(value: Any) -> None:
    """The notification-service would retry a null forever."""
    data = projected(DATA | {"message": value, "url": value})["notificationData"]
    assert (data["message"], data["url"]) == ("", "")


def test_no_digit_of_a_number_is_lost_on_the_way_into_a_notification() -> None:
    """Other members are taken over as text."""
    text = '{"date":"2026-11-23T08:00:00Z","n":123456789012345678901234567890.10,"message":"m"}'
    assert '"n":123456789012345678901234567890.10' in project_event(event(text))


@pytest.mark.parametrize(
    ("date", "problem"),
    [(None, "is missing"), (5, "not an RFC 3339"), ("+060000-01-01T00:00:00.000Z", "not an RFC 3339")],
)
def test_a_reminder_without_a_usable_date_is_rejected(date: Any, problem: str) -> None:
    """The error names the field."""
    with pytest.raises(Rejected, match=f"^eventData.date: .*{problem}"):
        projected({} if date is None else {"date": date})


def test_a_deletion_needs_no_date() -> None:
    """Its time of delivery is unknown then."""
    assert projected({}, "reminder:deleted")["deliverAt"] is None
    assert projected({"date": "?"}, "notification:delete")["deliverAt"] is None
    assert projected(DATA, "reminder:deleted")["deliverAt"] == "2026-11-23T08:00:00.000000Z"


def test_the_id_of_a_notification_depends_on_user_and_item_alone() -> None:
    """And tells ("a", "bc") from ("ab", "c")."""
    assert notification_id("a", "s", "bc") == notification_id("a", "s", "bc") != notification_id("ab", "s", "c")
    assert notification_id("a\n", "s", "b") != notification_id("a", "s", "\nb")


def test_a_fact_is_the_same_whenever_it_is_made() -> None:
    """Its id depends on the causing event and the kind of change."""
    fact = fact_of(change("{}"))
    assert fact == fact_of(change("{}"))
    assert (fact.event_type, fact.pk) == ("notification:updated", f"notification#{ID}")
    assert (fact.occurred_at, fact.causation_id) == ("2026-11-23T06:54:06.410000Z", "event#1")
    assert fact.id != fact_of(change("{}", "2026-11-23T06:54:06.410000Z#event#2")).id


def test_a_message_is_a_native_event_that_the_service_reads_back() -> None:
    """The same event, the same key."""
    fact = fact_of(change('{"userId":"user-a","itemType":"reminder","itemId":"item-1","n":1.10}'))
    message = message_of(fact)
    assert message.attributes == {
        "eventItemType": "notification",
        "eventType": "notification:updated",
        "userId": "user-a",
    }
    assert read_event(open_envelope(raw(message.body))) == fact


def test_a_fact_too_large_for_sns_goes_out_without_its_data() -> None:
    """The remaining fact says so, and is recognised when it comes back."""
    whole = json.dumps(
        {"id": "n", "notificationData": {"x": "\u20ac" * 100_000}, "deliverAt": None}, ensure_ascii=False
    )
    message = message_of(fact_of(change(whole)))
    assert message.size < MAX_MESSAGE_BYTES
    data = json.loads(message.body)["eventData"]
    assert data == {"id": "n", "notificationData": None, "deliverAt": None, "truncated": True}
    assert same_fact_data(whole, json.dumps(data))
    assert not same_fact_data(whole, json.dumps(data | {"id": "other"}))
    assert not same_fact_data(truncated(whole), whole.replace("n", "m", 1))


@pytest.mark.parametrize("character", ["a", "\u20ac", "\U0001f600", "\uffff", "\x7f"])
def test_whether_a_fact_may_be_truncated_is_known_beforehand(character: str) -> None:
    """No fact that is truncated was expected to fit, however many bytes its characters take."""
    for count in range(40_000, 262_144, 2_000):
        fact = fact_of(change(json.dumps({"notificationData": character * count}, ensure_ascii=False)))
        assert may_be_truncated(fact) or '"truncated":true' not in message_of(fact).body


def test_the_size_of_a_message_counts_bytes_and_attributes() -> None:
    """As SNS does: 256 KiB for both together."""
    message = message_of(fact_of(change('{"x":"\u20ac"}')))
    attributes = sum(len(f"{name}String{value}") for name, value in message.attributes.items())
    assert message.size == len(message.body.encode()) + attributes


def test_characters_that_queues_do_not_carry_are_escaped() -> None:
    """SQS takes XML 1.0's characters; the body says the same with escapes."""
    fact = fact_of(change('{"x":"a\uffff\ufffe"}'))
    message = message_of(fact)
    assert "\uffff" not in message.body
    assert json.loads(message.body)["eventData"] == {"x": "a\uffff\ufffe"}
