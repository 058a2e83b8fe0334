"""Instants as fixed-width UTC text, `2026-11-23T06:54:06.410000Z`: text order is time order."""

import re
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import NewType

Instant = NewType("Instant", str)

# RFC 3339, section 5.6; its grammar is case-insensitive.
_RFC3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d+))?(?:[Zz]|([+-])(\d\d):(\d\d))", re.ASCII
)
# The usual form, for which the standard library does the rest.
_IN_UTC = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?Z", re.ASCII)
_YEARS_PER_CYCLE = 400
_CYCLE = timedelta(days=146_097)  # the Gregorian calendar repeats every 400 years


def parse_instant(text: str) -> Instant:
    """Return the instant that an RFC 3339 date-time of any offset denotes.

    Digits beyond microseconds are truncated. A leap second counts as the first second of the next minute.

    Raises:
        ValueError: it is not an RFC 3339 date-time, or lies outside the years 1-9999 in UTC.

    """
    if _IN_UTC.fullmatch(text):
        with suppress(ValueError):  # a leap second, the year 0000, or a reason to name below
            datetime.fromisoformat(text)
            return Instant(f"{text[:19]}.{text[20:-1]:0<6}Z")
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise ValueError("is not an RFC 3339 date-time")
    year, month, day, hour, minute, second = map(int, match.group(1, 2, 3, 4, 5, 6))
    fraction, sign, offset_hours, offset_minutes = match.group(7, 8, 9, 10)
    offset = timedelta(hours=int(offset_hours or 0), minutes=int(offset_minutes or 0))
    if offset_hours and (int(offset_hours) > 23 or int(offset_minutes) > 59):  # noqa: PLR2004
        raise ValueError("is not an RFC 3339 date-time: its offset is out of range")
    leap = second == 60  # noqa: PLR2004
    try:
        # `datetime` has no year 0, but with a negative offset the year 0000 may be the year 1 in UTC.
        local = datetime(year + _YEARS_PER_CYCLE * (year == 0), month, day, hour, minute, second - leap, tzinfo=UTC)
    except ValueError as exc:
        raise ValueError("is not an RFC 3339 date-time: there is no such date or time") from exc
    since_local = timedelta(seconds=leap, microseconds=int((fraction or "")[:6].ljust(6, "0")))
    since_local += offset if sign == "-" else -offset
    try:
        moment = local + since_local - (_CYCLE if year == 0 else timedelta())
    except OverflowError as exc:
        raise ValueError("lies outside the years 1-9999 in UTC") from exc
    if leap and moment.strftime("%H:%M:%S") != "00:00:00":
        raise ValueError("is not an RFC 3339 date-time: a leap second ends a UTC day")
    return format_instant(moment)


def parse_instant_or_none(value: object) -> Instant | None:
    """Return the instant that a value denotes; None if it is not text or not an RFC 3339 date-time."""
    try:
        return parse_instant(value) if isinstance(value, str) else None
    except ValueError:
        return None


def format_instant(moment: datetime) -> Instant:
    """Return an aware `datetime` as an instant."""
    utc = moment.astimezone(UTC)
    return Instant(utc.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z")


def instant_from_epoch(milliseconds: int) -> Instant:
    """Return the instant `milliseconds` after the start of 1970 (UTC).

    Raises:
        ValueError: it lies outside the years 1-9999.

    """
    try:
        return format_instant(datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds))
    except OverflowError as exc:
        raise ValueError("lies outside the years 1-9999 in UTC") from exc


def epoch_seconds(instant: Instant) -> int:
    """Return the whole seconds from the start of 1970 to an instant."""
    return int(datetime.fromisoformat(instant).timestamp())


def now() -> Instant:
    """Return the current instant."""
    return format_instant(datetime.now(UTC))
