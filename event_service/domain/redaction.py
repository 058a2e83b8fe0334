"""What in an event is personal data, and the event without it."""

import html
import json
import re
import unicodedata
from functools import lru_cache
from typing import Any, Final
from urllib.parse import unquote

from event_service.codec.json_text import dumps, json_array

# A member is personal if its name contains one of these,
_PERSONAL: Final = re.compile(r"mail|message")
# or a word that begins or ends with one of these (`imageURLs`, `meetingurl`, but not `hourlyRate`),
_WORD: Final = r"(?i:url|uri|link|content|html|summary)"
_PERSONAL_WORD: Final = re.compile(
    rf"(?:(?<![A-Za-z])|(?<=[a-z])(?=[A-Z])){_WORD}|{_WORD}(?i:s)?(?:(?![A-Za-z])|(?<=[a-z])(?=[A-Z])|(?=[A-Z][a-z]))"
)
# or if it is one of these in lower case and without anything but letters.
_PERSONAL_NAMES: Final = frozenset(
    (
        "text",
        "title",
        "subject",
        "body",
        "description",
        "note",
        "notes",
        "comment",
        "name",
        "firstname",
        "lastname",
        "surname",
        "fullname",
        "displayname",
        "username",
        "nickname",
        "phone",
        "phonenumber",
        "mobile",
        "mobilenumber",
        "address",
    )
)
# A text is personal if it matches this; ids stay whatever they hold: `id`, `itemId`, `item_id` (not `paid`, `emailId`).
_PERSONAL_TEXT: Final = re.compile(r"[^\s@]@[^\s@]|[a-z]://|mailto:|www\.|\w\.[a-z]{2,}(:\d+)?/", re.IGNORECASE)
_ID: Final = re.compile(r"(?i:id)|.*(?:Id|[a-z0-9]ID|[_-](?i:id))", re.DOTALL)
# Encodings that are common inside a text: JSON in JSON, percent, HTML, full-width characters; each may be nested.
_JSON_ESCAPE: Final = re.compile(r"\\+(?:u([0-9a-fA-F]{4})|/)")
_DECODED_TIMES: Final = 4


class _Number(str):
    """A JSON number, as it was written."""

    __slots__ = ()


def redact(text: str) -> str:
    """Return a JSON document without personal data, at any depth, or the text itself if it holds none.

    A personal text becomes empty (the notification-service retries a null message forever), anything else null.
    """
    document = json.loads(text, parse_int=_Number, parse_float=_Number, object_pairs_hook=tuple)
    left = _redacted("", document)
    return text if left == document else _emit(left)


def _redacted(member: str, value: Any) -> Any:
    """Return what is left of the value of a member; an object is a tuple of pairs here."""
    is_id, is_personal, is_mail = _judge_name(member)
    is_text = isinstance(value, str) and not isinstance(value, _Number)
    if is_personal:
        return "" if is_text and (not value or not is_mail) else None
    if isinstance(value, tuple):
        return tuple(
            (f"erased {number}" if _is_personal(key) else key, _redacted(key, each))
            for number, (key, each) in enumerate(value, 1)
        )
    if isinstance(value, list):
        return [_redacted(member, each) for each in value]
    return "" if is_text and not is_id and _is_personal(value) else value


@lru_cache(maxsize=1024)
def _judge_name(member: str) -> tuple[bool, bool, bool]:
    """Tell whether a member is an id, whether its name makes it personal, and whether it names an e-mail address."""
    name = re.sub("[^a-z]", "", member.lower())
    is_mail = "mail" in name
    is_id = _ID.fullmatch(member) is not None and not is_mail
    by_name = name in _PERSONAL_NAMES or _PERSONAL.search(name) or _PERSONAL_WORD.search(member)
    return is_id, bool(name and not is_id and by_name), is_mail


def _is_personal(text: str) -> bool:
    """Tell whether a text looks like an address or a URL, in whatever encoding."""
    for _ in range(_DECODED_TIMES):
        if _PERSONAL_TEXT.search(text):
            return True
        decoded = _JSON_ESCAPE.sub(lambda match: chr(int(match[1], 16)) if match[1] else "/", text)
        decoded = unicodedata.normalize("NFKC", html.unescape(unquote(decoded)))
        if decoded == text:
            return False
        text = decoded
    return _PERSONAL_TEXT.search(text) is not None


def _emit(value: Any) -> str:
    if isinstance(value, tuple):
        return "{" + ",".join(f"{_string(key)}:{_emit(member)}" for key, member in value) + "}"
    if isinstance(value, list):
        return json_array(map(_emit, value))
    if isinstance(value, _Number):
        return str(value)
    return _string(value) if isinstance(value, str) else dumps(value)


def _string(text: str) -> str:
    """Return a string as JSON, with escapes if it holds a lone surrogate."""
    return dumps(text) if text.isascii() or text.isprintable() else json.dumps(text)
