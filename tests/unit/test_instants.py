import re
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from event_service.codec.instants import (
    epoch_seconds,
    format_instant,
    instant_from_epoch,
    parse_instant,
    parse_instant_or_none,
)

MOMENTS = st.datetimes(timezones=st.integers(-1439, 1439).map(lambda m: timezone(timedelta(minutes=m))))


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2026-11-23T06:54:06.410Z", "2026-11-23T06:54:06.410000Z"),
        ("2026-11-23t06:54:06z", "2026-11-23T06:54:06.000000Z"),
        ("2026-11-23T06:54:06.1234567Z", "2026-11-23T06:54:06.123456Z"),
        ("2026-11-23T06:54:06.9999999999Z", "2026-11-23T06:54:06.999999Z"),
        ("2026-11-23T00:30:00+01:00", "2026-11-22T23:30:00.000000Z"),
        ("2026-11-23T23:30:00-01:45", "2026-11-24T01:15:00.000000Z"),
        ("2026-11-23T06:54:06-00:00", "2026-11-23T06:54:06.000000Z"),
        ("2024-02-29T00:00:00Z", "2024-02-29T00:00:00.000000Z"),
        ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00.000000Z"),
        ("0000-12-31T23:59:60Z", "0001-01-01T00:00:00.000000Z"),
        ("2017-01-01T00:59:60.5+01:00", "2017-01-01T00:00:00.500000Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000000Z"),
        ("0000-12-31T23:30:00-01:00", "0001-01-01T00:30:00.000000Z"),
        ("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"),
    ],
)
def test_an_rfc_3339_date_time_becomes_fixed_width_utc(text: str, instant: str) -> None:
    """Any offset, any number of digits, either case: one fixed-width text in UTC."""
    assert parse_instant(text) == instant


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-11-23",
        "2026-11-23T06:54Z",
        "2026-11-23T06:54:06",
        "2026-11-23 06:54:06Z",
        "2026-11-23T06:54:06.Z",
        "2026-11-23T06:54:06+0100",
        "2026-11-23T06:54:06+24:00",
        "2026-11-23T06:54:06+01:60",
        "2026-02-29T00:00:00Z",
        "2026-13-01T00:00:00Z",
        "2026-11-23T24:00:00Z",
        "2026-11-23T12:00:60Z",
        "2026-11-23T12:00:61Z",
        "+060000-01-01T00:00:00.000Z",
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+00:01",
        "9999-12-31T23:59:59-00:01",
        "9999-12-31T23:59:60Z",
        " 2026-11-23T06:54:06Z",
        "2026-11-23T06:54:06Z\n",
        "2026-11-23T06:54:06\u0660Z",
        "1795416846438",
    ],
)
def test_an_invalid_instant_is_refused_with_a_reason(text: str) -> None:
    """Neither other ISO 8601 forms nor instants outside the years 1-9999 in UTC pass."""
    with pytest.raises(ValueError, match=r"is not an RFC 3339 date-time|lies outside the years 1-9999 in UTC"):
        parse_instant(text)


@given(MOMENTS)
def test_parsing_agrees_with_the_standard_library(moment: datetime) -> None:
    """Wherever `datetime` can express an instant, the result is the same."""
    try:
        expected = moment.astimezone(UTC)
    except OverflowError:
        with pytest.raises(ValueError, match="outside"):
            parse_instant(moment.isoformat())
    else:
        instant = parse_instant(moment.isoformat())
        assert datetime.fromisoformat(instant) == expected
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", instant)


@given(MOMENTS, MOMENTS)
def test_the_order_as_text_is_the_order_in_time(one: datetime, other: datetime) -> None:
    """Sort keys of the event store rely on it."""
    first, second = parse_instant_or_none(one.isoformat()), parse_instant_or_none(other.isoformat())
    if first and second:
        assert (first < second) == (one < other)


def test_milliseconds_since_1970_become_an_instant() -> None:
    """SQS counts in them."""
    assert instant_from_epoch(1795416846438) == "2026-11-23T06:54:06.438000Z"
    assert epoch_seconds(instant_from_epoch(1795416846438)) == 1795416846
    with pytest.raises(ValueError, match="outside"):
        instant_from_epoch(10**18)


def test_an_aware_time_of_any_zone_is_formatted_in_utc() -> None:
    """Without microseconds the width is the same."""
    assert format_instant(datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=1)))) == "2026-01-01T00:00:00.000000Z"
