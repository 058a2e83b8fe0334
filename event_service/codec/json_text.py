"""JSON as RFC 8259 has it and the backends can hold it, with nothing of a value lost.

`json.loads` alone accepts `NaN`, lone surrogates and NUL characters, turns numbers into floats, fails with
RecursionError on deep input and refuses integers of more than 4,300 digits.
"""

import json
import re
from collections.abc import Iterable, Mapping
from itertools import accumulate
from json.decoder import scanstring  # type: ignore[attr-defined]  # the stubs leave it out
from json.encoder import encode_basestring  # what `dumps` makes of a string, without its detours
from typing import Any, NoReturn

from event_service.errors import Rejected

MAX_DEPTH = 64
MAX_DEPTH_OF_FACTS = MAX_DEPTH + 1  # the data of an event stands one level deeper in its fact

# A member of a valid object: its name, and its value unless that is an array or an object.
_member = re.compile(
    r'[ \t\n\r]*+"((?:[^"\\]++|\\.)*+)"[ \t\n\r]*+:[ \t\n\r]*+(?:("(?:[^"\\]++|\\.)*+"|[^"\[{,}\s]++)[ \t\n\r]*+,?)?',
    re.DOTALL,
).match
_comma = re.compile(r"[ \t\n\r]*+,?").match
# Strings, an unclosed one to the end of the text, and whatever else is no bracket. Possessive: never tried twice.
_NOT_BRACKETS = re.compile(r'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)|[^"\[\]{}]++', re.DOTALL)
_STEP = {"[": 1, "{": 1, "]": -1, "}": -1}
# A valid document up to the first NUL character or lone surrogate in it; backslashes stand in strings only.
_STORABLE = re.compile(r"(?:[^\\]++|\\[^u]|\\u(?!0000|[dD][89a-fA-F])|\\u[dD][89abAB]..\\u[dD][c-fC-F]..)*+", re.DOTALL)
_PART = re.compile(r'"(?:[^"\\]++|\\.)*+"|[\[\]{},:]')
_CONSTANT = re.compile(r'"(?:[^"\\]++|\\.)*+"|(NaN|-?Infinity)')
_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")


class Number:
    """A JSON number, digit by digit as it was written; equal to every other way to write it."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Number) and (self.text == other.text or self._value() == other._value())

    def __hash__(self) -> int:
        return hash(self._value())

    def __repr__(self) -> str:
        return f"Number({self.text!r})"

    def exponent(self) -> int:
        """Return what stands behind the `e`; of one beyond 20 digits just that it is huge."""
        text = self.text.lower().partition("e")[2]
        value = int(text.lstrip("+-0")[:20] or "0")  # int() refuses more than 4,300 digits
        return -value if text.startswith("-") else value

    def point(self) -> tuple[str, int]:
        """Return the significant digits (none for zero) and how many of them stand before the decimal point."""
        mantissa = self.text.lower().lstrip("-").partition("e")[0]
        whole, _, fraction = mantissa.partition(".")
        digits = (whole + fraction).lstrip("0")
        leading_zeros = len(whole) + len(fraction) - len(digits)
        return digits, len(whole) - leading_zeros + self.exponent()

    def _value(self) -> tuple[bool, str, int]:
        digits, before_point = self.point()
        digits = digits.rstrip("0")
        return (self.text.startswith("-"), digits, before_point) if digits else (False, "", 0)


def _refuse_constant(name: str) -> NoReturn:
    raise Rejected("not_finite", f"holds {name}, which is no JSON number")


# Compact JSON of a value. One encoder for all: `json.dumps` would make a new one at each call.
dumps = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode

# A number as a value only has to be no string: `texts_of` has its digits. int() would refuse more than 4,300 of them.
_values = json.JSONDecoder(parse_int=float, parse_float=float, parse_constant=_refuse_constant)


def parse_object(text: str, name: str) -> dict[str, Any]:
    """Parse a document that must be an object; a name that occurs twice has its last value, numbers are not exact.

    `name` is what errors call the document.

    Raises:
        Rejected: it is not JSON, no object, deeper than a fact may be, or holds `NaN`, `Infinity`, a NUL character or a
            lone surrogate.

    """
    check_depth(text, name, MAX_DEPTH_OF_FACTS)
    try:
        value = _values.decode(text)
    except json.JSONDecodeError as exc:
        raise Rejected("not_json", f"is no JSON object: {exc.msg} at character {exc.pos}", name) from exc
    except Rejected as exc:
        raise Rejected("not_finite", str(exc), path_at(text, _first_constant(text), name)) from exc
    if not isinstance(value, dict):
        raise Rejected("not_json", "is no JSON object", name)
    _check_text(text, name)
    return value


def _first_constant(text: str) -> int:
    return next(match.start() for match in _CONSTANT.finditer(text) if match[1])


def texts_of(text: str) -> dict[str, str]:
    """Return the members of a valid object, the value of each as the exact text it stands there with."""
    texts: dict[str, str] = {}
    at = text.index("{") + 1
    while match := _member(text, at):
        name, value = match.groups()
        at = match.end()
        if value is None:
            end = _values.scan_once(text, at)[1]  # type: ignore[attr-defined]  # the stubs leave it out
            value, at = text[at:end], _comma(text, end).end()  # type: ignore[union-attr]  # it always matches
        texts[_values.decode(f'"{name}"') if "\\" in name else name] = value
    return texts


def string_of(text: str | None) -> str | None:
    """Return the string that a JSON text denotes; None where there is no text or it denotes something else."""
    return scanstring(text, 1)[0] if text is not None and text.startswith('"') else None


def check_depth(text: str, name: str, levels: int = MAX_DEPTH) -> None:
    """Check how deep a document is nested, valid or not, without descending into it.

    Raises:
        Rejected: it has more levels.

    """
    if text.count("{") + text.count("[") <= levels:
        return
    brackets = _NOT_BRACKETS.sub("", text)
    if max(accumulate(map(_STEP.__getitem__, brackets)), default=0) > levels:
        raise Rejected("too_deep", f"is nested deeper than {MAX_DEPTH} levels", name)


def _check_text(text: str, name: str) -> None:
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as exc:
            raise Rejected("invalid_text", f"holds a lone surrogate at character {exc.start}", name) from None
    if "\\u" not in text:
        return
    end = _STORABLE.match(text).end()  # type: ignore[union-attr]  # it always matches
    if end < len(text):
        what = "a NUL character" if text.startswith("0000", end + 2) else "a lone surrogate"
        raise Rejected("invalid_text", f"holds {what}", path_at(text, end, name))


def path_at(text: str, position: int, name: str) -> str:
    """Return the path of the value at a position of a valid document; of a key, that of its object.

    A key that may be data itself is shown as `*`.
    """
    path: list[int | str] = []  # of each open array the index, of each open object the key
    string = ""
    for match in _PART.finditer(text):
        if match.end() > position:
            break
        part = match[0]
        if part in "[{":
            path.append(0 if part == "[" else "")
        elif part in "]}":
            path.pop()
        elif part == ",":
            last = path[-1]
            path[-1] = last + 1 if isinstance(last, int) else ""
        elif part == ":":
            path[-1] = "." + (string if _PLAIN_KEY.fullmatch(string) else "*")
        else:
            string = part[1:-1]
    return name + "".join(f"[{step}]" if isinstance(step, int) else step for step in path)


def compose_object(members: Mapping[str, str]) -> str:
    """Return the object of these members, whose values are JSON texts."""
    return "{" + ",".join([f"{encode_basestring(key)}:{text}" for key, text in members.items()]) + "}"


def compose_array(texts: Iterable[str]) -> str:
    """Return the array of these JSON texts."""
    return "[" + ",".join(texts) + "]"


def same_value(one: str, other: str) -> bool:
    """Tell whether two valid documents are equal as JSON values."""
    return one == other or _exact(one) == _exact(other)


def _exact(text: str) -> Any:
    return json.loads(text, parse_int=Number, parse_float=Number)
