"""What PostgreSQL's jsonb can hold: numbers within its limits, and no NUL character or half of an emoji."""

import re
from decimal import Decimal, InvalidOperation

from event_service.codec.json_text import path_at
from event_service.errors import Rejected

# The limits of numeric, and so of jsonb: https://www.postgresql.org/docs/16/datatype-numeric.html
_NUMERIC_DIGITS_BEFORE_POINT = 131_072
_NUMERIC_DIGITS_AFTER_POINT = 16_383
_NUMERIC_EXPONENT = 2**30 - 1
# jsonb prints numbers without exponents: 1e131071 is 8 characters here and 131,072 in every query that reads it.
_NUMERIC_DIGITS_IN_ALL = 16 * 1024 * 1024

_MANY_DIGITS = 1000
_LONG_NUMBER = re.compile(r"(?<![0-9.])[0-9.]{1000}")
_LARGE_EXPONENT = re.compile(r"[eE][+-]?[0-9]{3}")  # by itself, this search skips from one `e` to the next
# Strings and numbers of fewer digits and smaller exponents, then a number that is neither.
_TO_SUSPECT_NUMBER = re.compile(
    r'(?:"(?:[^"\\]++|\\.)*+"|[^"0-9]++|[0-9.]{1,999}+(?:[eE][+-]?+[0-9]{1,2}+)?+(?![0-9.eE]))*+'
    r"([0-9.]++(?:[eE][+-]?+[0-9]++)?+)"
)
# Any escape in a valid document; group 1 is an escaped NUL character or lone surrogate.
_ESCAPE = re.compile(r"\\u[dD][89abAB]..\\u[dD][c-fC-F]..|(\\u0000|\\u[dD][89a-fA-F]..)|\\.", re.DOTALL)


def replace_unstorable(text: str) -> str:
    """Return a valid document with U+FFFD in place of each escaped NUL character and lone surrogate.

    Neither jsonb nor SNS can hold them: https://www.postgresql.org/docs/16/datatype-json.html
    """
    return _ESCAPE.sub(lambda match: "\ufffd" if match[1] else match[0], text) if "\\u" in text else text


def check_numbers(text: str, name: str) -> None:
    """Check that PostgreSQL's jsonb can hold every number of a valid document.

    Raises:
        Rejected: it cannot, or the numbers take more than 16 MiB when written without exponents.

    """
    long = len(text) >= _MANY_DIGITS and _LONG_NUMBER.search(text)
    if not long and not _LARGE_EXPONENT.search(text):
        return
    digits_in_all = 0
    match = _TO_SUSPECT_NUMBER.match(text)
    while match is not None:
        before_point, after_point = _numeric_digits(match[1])
        digits_in_all += max(before_point, 0) + max(after_point, 0)
        if before_point > _NUMERIC_DIGITS_BEFORE_POINT or after_point > _NUMERIC_DIGITS_AFTER_POINT:
            path = path_at(text, match.start(1), name)
            raise Rejected("number_out_of_range", "is a number that jsonb cannot hold", path)
        if digits_in_all > _NUMERIC_DIGITS_IN_ALL:
            raise Rejected("too_large", "holds numbers that are too large for a row when written out", name)
        match = _TO_SUSPECT_NUMBER.match(text, match.end())


def _numeric_digits(number: str) -> tuple[int, int]:
    """Return how many digits numeric keeps before and after the point, including zeros at the end of a fraction."""
    try:
        _, digits, exponent = Decimal(number).as_tuple()
    except InvalidOperation:  # an exponent of more than 18 digits
        return _NUMERIC_EXPONENT, 0
    assert isinstance(exponent, int)  # noqa: S101  # only infinities and NaN have another
    if not any(digits):
        return 1 if exponent < _NUMERIC_EXPONENT else exponent, -exponent
    return len(digits) + exponent, -exponent
