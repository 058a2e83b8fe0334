import random
from dataclasses import replace

import pytest

from event_service.adapters.event_items import MAX_ITEM_BYTES, data_of, differing_fields, size_of, to_item
from event_service.codec.instants import Instant
from event_service.domain.event import Event
from event_service.errors import Rejected
from event_service.steps.parse import check_size

RECORDED = Instant("2026-11-23T07:00:00.000000Z")
EVENT = Event(
    id="event-1",
    occurred_at=Instant("2026-11-23T06:54:06.410000Z"),
    event_type="reminder:created",
    item_type="reminder",
    item_id="item-1",
    user_id="user-a",
    user_email="alice@example.com",
    causation_id=None,
    data='{"a":1}',
)
FACT = replace(
    EVENT,
    event_type="notification:updated",
    item_type="notification",
    causation_id="event-1",
    data='{"userId":"user-a"}',
    is_fact=True,
)


def noise(length: int) -> str:
    """Return text that does not compress."""
    return '{"x":"' + random.Random(length).randbytes(length // 2).hex() + '"}'


def test_an_item_has_the_attributes_of_the_contract() -> None:
    """A field without a value has no attribute."""
    assert to_item(EVENT, RECORDED) == {
        "pk": {"S": "reminder#item-1"},
        "sk": {"S": "2026-11-23T06:54:06.410000Z#event-1"},
        "id": {"S": "event-1"},
        "eventType": {"S": "reminder:created"},
        "userId": {"S": "user-a"},
        "userEmail": {"S": "alice@example.com"},
        "occurredAt": {"S": "2026-11-23T06:54:06.410000Z"},
        "recordedAt": {"S": RECORDED},
        "eventData": {"S": '{"a":1}'},
    }


def test_the_item_of_a_fact_is_not_in_the_index_by_user() -> None:
    """It has no userId attribute."""
    item = to_item(FACT, RECORDED)
    assert "userId" not in item
    assert item["causationId"] == {"S": "event-1"}


def test_retention_counts_from_when_the_event_was_recorded() -> None:
    """In epoch seconds, and only where it is wanted."""
    assert to_item(EVENT, RECORDED, 2)["expiresAt"] == {"N": str(1795417200 + 2 * 86400)}
    assert "expiresAt" not in to_item(EVENT, RECORDED, 0)


def test_large_data_is_compressed_and_read_back_exactly() -> None:
    """Data that compression does not shrink stays text."""
    large = replace(EVENT, data='{"x":"' + "\u20ac" * 100_000 + '"}')
    item = to_item(large, RECORDED)
    assert item["eventDataEncoding"] == {"S": "gzip"}
    assert size_of(item) < 1000
    assert data_of(item) == large.data
    assert data_of(to_item(EVENT, RECORDED)) == EVENT.data


@pytest.mark.parametrize(
    ("other", "fields"),
    [
        (EVENT, []),
        (replace(EVENT, data='{ "a" : 1.0 }'), []),
        (replace(EVENT, data='{"a":2}'), ["eventData"]),
        (replace(EVENT, data='{"a":true}'), ["eventData"]),
        (replace(EVENT, event_type="reminder:updated"), ["eventType"]),
        (replace(EVENT, user_id="user-b"), ["userId"]),
        (replace(EVENT, user_email=None), ["userEmail"]),
        (replace(EVENT, causation_id="x", data="{}"), ["causationId", "eventData"]),
    ],
)
def test_the_fields_that_differ_between_payloads_are_named(other: Event, fields: list[str]) -> None:
    """Type, user, e-mail address, cause and data are compared; data as JSON values."""
    assert differing_fields(other, to_item(EVENT, RECORDED)) == fields


def test_the_user_of_a_fact_is_not_compared() -> None:
    """The fact's item does not have one."""
    assert differing_fields(replace(FACT, user_id="x", user_email=None), to_item(FACT, RECORDED)) == []
    assert differing_fields(replace(FACT, causation_id=None), to_item(FACT, RECORDED)) == ["causationId"]


@pytest.mark.parametrize(
    "event",
    [
        EVENT,
        replace(EVENT, data=noise(380_000)),
        replace(EVENT, data='{"x":"' + "y" * 1_000_000 + '"}'),
        replace(EVENT, user_email="x" * 30_000),
    ],
)
def test_what_fits_passes(event: Event) -> None:
    """Up to 1 MiB if it compresses."""
    check_size(event, f'{{"id":1,"notificationData":{event.data}}}')
    assert size_of(to_item(event, RECORDED)) <= MAX_ITEM_BYTES


@pytest.mark.parametrize(
    ("event", "field"),
    [
        (replace(EVENT, data=noise(1_000_000)), "eventData"),
        (replace(EVENT, user_email="x" * 500_000), "userEmail"),
        (replace(EVENT, causation_id="x" * 500_000), "causationId"),
    ],
)
def test_what_does_not_fit_an_item_is_rejected(event: Event, field: str) -> None:
    """The error names what is too large."""
    with pytest.raises(Rejected, match=f"^{field}: .*409,600 bytes"):
        check_size(event, None)


def test_an_event_whose_fact_does_not_fit_an_item_is_rejected() -> None:
    """The fact's data is larger than the event's."""
    check_size(EVENT, None)
    with pytest.raises(Rejected, match=r"^eventData: .*409,600 bytes"):
        check_size(EVENT, f'{{"id":1,"notificationData":{noise(1_000_000)}}}')


def test_an_event_whose_fact_cannot_be_published_is_rejected() -> None:
    """Even without its data, a fact has the e-mail address."""
    event = replace(EVENT, user_email="x" * 300_000)
    check_size(event, None)
    with pytest.raises(Rejected, match=r"^userEmail: .*published"):
        check_size(event, '{"id":1,"notificationData":{}}')
