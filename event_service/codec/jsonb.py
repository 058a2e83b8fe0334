"""What PostgreSQL's jsonb can hold of what JSON can say."""

import re

from event_service.codec.json_text import Number, path_at
from event_service.errors import Rejected

# What PostgreSQL's numeric, and so jsonb, holds: https://www.postgresql.org/docs/16/datatype-numeric.html
_NUMERIC_DIGITS_BEFORE_POINT = 131_072
_NUMERIC_DIGITS_AFTER_POINT = 16_383
_NUMERIC_EXPONENT = 2**30 - 1
# jsonb prints numbers without exponents: 1e131071 is 8 characters here and 131,072 in every query that reads it.
_NUMERIC_DIGITS_IN_ALL = 16 * 1024 * 1024

_MANY_DIGITS = 1000
_LONG_NUMBER = re.compile(r"(?<![0-9.])[0-9.]{1000}")
_LARGE_EXPONENT = re.compile(r"[eE][+-]?[0-9]{3}")  # on its own a search skips from one `e` to the next
# Strings and numbers of fewer digits and smaller exponents, then one that is none of these.
_TO_SUSPECT_NUMBER = re.compile(
    r'(?:"(?:[^"\\]++|\\.)*+"|[^"0-9]++|[0-9.]{1,999}+(?:[eE][+-]?+[0-9]{1,2}+)?+(?![0-9.eE]))*+'
    r"([0-9.]++(?:[eE][+-]?+[0-9]++)?+)"
)


def check_numbers(text: str, name: str) -> None:
    """Check that PostgreSQL's jsonb can hold every number of a valid document.

    Raises:
        Rejected: it cannot, or the numbers written out without exponents are more than 16 MiB.

    """
    long = len(text) >= _MANY_DIGITS and _LONG_NUMBER.search(text)
    if not long and not _LARGE_EXPONENT.search(text):
        return
    digits_in_all = 0
    match = _TO_SUSPECT_NUMBER.match(text)
    while match is not None:
        before_point, after_point = _numeric_digits(Number(match[1]))
        digits_in_all += max(before_point, 0) + max(after_point, 0)
        if before_point > _NUMERIC_DIGITS_BEFORE_POINT or after_point > _NUMERIC_DIGITS_AFTER_POINT:
            path = path_at(text, match.start(1), name)
            raise Rejected("number_out_of_range", "is a number that jsonb cannot hold", path)
        if digits_in_all > _NUMERIC_DIGITS_IN_ALL:
            raise Rejected("too_large", "holds numbers that written out are too large for a row", name)
        match = _TO_SUSPECT_NUMBER.match(text, match.end())


def _numeric_digits(number: Number) -> tuple[int, int]:
    """Return the digits numeric keeps before and after the point, zeros at the end of a fraction included."""
    exponent = number.exponent()
    mantissa = number.text.lower().partition("e")[0]
    digits, before_point = number.point()
    if not digits and exponent < _NUMERIC_EXPONENT:
        before_point = 1
    return before_point, len(mantissa.partition(".")[2]) - exponent
