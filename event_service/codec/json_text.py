"""JSON text as RFC 8259 defines it and the backends can store it, with no digit or key of a value lost.

`json.loads` alone accepts `NaN`, lone surrogates and NUL characters, turns numbers into floats, raises RecursionError
on deep input and refuses integers of more than 4,300 digits.
"""

import json
import re
from collections.abc import Collection, Iterable, Mapping
from decimal import Decimal, InvalidOperation
from itertools import accumulate
from json.decoder import scanstring  # type: ignore[attr-defined]  # missing from the stubs
from json.encoder import encode_basestring  # encodes a string as `dumps` does, but faster
from typing import Any, NoReturn

from event_service.errors import Rejected

MAX_DEPTH = 64
MAX_DEPTH_OF_FACTS = MAX_DEPTH + 1  # a fact holds the event's data one level deeper
BYTE_ORDER_MARK = "\ufeff"

# A member of a valid object: its name, and its value unless that is an array or an object.
_member = re.compile(
    r'[ \t\n\r]*+"((?:[^"\\]++|\\.)*+)"[ \t\n\r]*+:[ \t\n\r]*+(?:("(?:[^"\\]++|\\.)*+"|[^"\[{,}\s]++)[ \t\n\r]*+,?)?',
    re.DOTALL,
).match
_comma = re.compile(r"[ \t\n\r]*+,?").match
# Strings, an unclosed one to the end of the text, and all else that is not a bracket. Possessive: no backtracking.
_NOT_BRACKETS = re.compile(r'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)|[^"\[\]{}]++', re.DOTALL)
_STEP = {"[": 1, "{": 1, "]": -1, "}": -1}
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
_PART = re.compile(r'"(?:[^"\\]++|\\.)*+"|[\[\]{},:]')
_CONSTANT = re.compile(r'"(?:[^"\\]++|\\.)*+"|(NaN|-?Infinity)')
_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")


def _refuse_constant(name: str) -> NoReturn:
    raise Rejected("not_finite", f"holds {name}, which is not a JSON number")


# Compact JSON of a value. One encoder for all calls: `json.dumps` would create one per call.
dumps = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode

# Numbers become floats because only their presence matters here: `raw_members` keeps their digits.
_values = json.JSONDecoder(parse_int=float, parse_float=float, parse_constant=_refuse_constant)


def parse_object(text: str, name: str, data_paths: Collection[str] = ()) -> dict[str, Any]:
    """Parse a document that must be an object.

    Of a repeated name the last value counts. Numbers are not exact. `name` is what errors call the document.
    `data_paths` are the paths, such as `name.eventData`, of values whose strings may hold escaped NUL characters and
    lone surrogates: clients cut strings in the middle of an emoji.

    Raises:
        Rejected: it is not JSON, not an object, deeper than a fact may be, or holds `NaN`, `Infinity`, or NUL
            characters or lone surrogates outside those strings.

    """
    check_depth(text, name, MAX_DEPTH_OF_FACTS)
    try:
        value = _values.decode(text)
    except json.JSONDecodeError as exc:
        raise Rejected("not_json", f"is not a JSON object: {exc.msg} at character {exc.pos}", name) from exc
    except Rejected as exc:
        raise Rejected("not_finite", str(exc), path_at(text, _first_constant(text), name)) from exc
    if not isinstance(value, dict):
        raise Rejected("not_json", "is not a JSON object", name)
    _check_encoding(text, name)
    if "\\u" in text:
        _check_strings(value, name, data_paths, in_data=False)
    return value


def _first_constant(text: str) -> int:
    return next(match.start() for match in _CONSTANT.finditer(text) if match[1])


def raw_members(text: str) -> dict[str, str]:
    """Return the members of a valid object, each value as the exact text it was written with."""
    members: dict[str, str] = {}
    at = text.index("{") + 1
    while match := _member(text, at):
        name, value = match.groups()
        at = match.end()
        if value is None:
            end = _values.scan_once(text, at)[1]  # type: ignore[attr-defined]  # missing from the stubs
            value, at = text[at:end], _comma(text, end).end()  # type: ignore[union-attr]  # it always matches
        members[_values.decode(f'"{name}"') if "\\" in name else name] = value
    return members


def string_value(text: str | None) -> str | None:
    """Return the string that a JSON text denotes; None for anything else."""
    return scanstring(text, 1)[0] if text is not None and text.startswith('"') else None


def json_object(members: Mapping[str, str]) -> str:
    """Return the object with these members, whose values are JSON texts."""
    return "{" + ",".join([f"{encode_basestring(key)}:{text}" for key, text in members.items()]) + "}"


def json_array(texts: Iterable[str]) -> str:
    """Return the array of these JSON texts."""
    return "[" + ",".join(texts) + "]"


def same_value(one: str, other: str) -> bool:
    """Tell whether two valid documents are equal as JSON values."""
    return one == other or _exact(one) == _exact(other)


def _exact(text: str) -> Any:
    return json.loads(text, parse_int=_number, parse_float=_number)


def _number(text: str) -> tuple[Decimal | str]:
    """Return a number in a tuple, which equals nothing but another number: `True == Decimal(1)`."""
    try:
        return (Decimal(text),)
    except InvalidOperation:  # an exponent of more than 18 digits
        return (text,)


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


def _check_encoding(text: str, name: str) -> None:
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as exc:
            raise Rejected("invalid_text", f"holds a lone surrogate at character {exc.start}", name) from None


def _check_strings(value: Any, path: str, data_paths: Collection[str], *, in_data: bool) -> None:
    in_data = in_data or path in data_paths
    if isinstance(value, str):
        if not in_data and (unstorable := _UNSTORABLE.search(value)):
            raise Rejected("invalid_text", f"holds {_describe(unstorable[0])}", path)
    elif isinstance(value, dict):
        for key, member in value.items():
            if unstorable := _UNSTORABLE.search(key):
                raise Rejected("invalid_text", f"has a name that holds {_describe(unstorable[0])}", path)
            _check_strings(member, f"{path}.{_shown(key)}", data_paths, in_data=in_data)
    elif isinstance(value, list):
        for index, member in enumerate(value):
            _check_strings(member, f"{path}[{index}]", data_paths, in_data=in_data)


def _describe(character: str) -> str:
    return "a NUL character" if character == "\0" else "a lone surrogate"


def _shown(key: str) -> str:
    """Return a key as errors show it: one that may itself be data is shown as `*`."""
    return key if _PLAIN_KEY.fullmatch(key) else "*"


def path_at(text: str, position: int, name: str) -> str:
    """Return the path of the value at a position in a valid document; for a key, that of its object."""
    path: list[int | str] = []  # for each open array the index, for each open object the key
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
            path[-1] = "." + _shown(string)
        else:
            string = part[1:-1]
    return name + "".join(f"[{step}]" if isinstance(step, int) else step for step in path)
