"""What of an event is personal data, and the event without it."""

import json
import re
from typing import Any, Final

from event_service.codec.json_text import Number, compose_array, dumps

# Members are personal by name: whatever has one of these anywhere in it,
_PERSONAL: Final = re.compile(r"mail|message")
# or one of these where a word of it begins or ends, as `imageURLs` and `meetingurl` have but not `hourlyRate`,
_WORD: Final = r"(?i:url|uri|link|content|html|summary)"
_PERSONAL_WORD: Final = re.compile(
    rf"(?:(?<![A-Za-z])|(?<=[a-z])(?=[A-Z])){_WORD}|{_WORD}(?i:s)?(?:(?![A-Za-z])|(?<=[a-z])(?=[A-Z])|(?=[A-Z][a-z]))"
)
# or is called exactly so, letters only, in lower case,
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
# and texts by what is in them; but ids stay, of whatever form: `id`, `itemId`, `item_id`; not `paid`, nor `emailId`.
_PERSONAL_TEXT: Final = re.compile(r"[^\s@]@[^\s@]|[a-z]://|mailto:|www\.|\w\.[a-z]{2,}(:\d+)?/", re.IGNORECASE)
_ID: Final = re.compile(r"(?i:id)|.*(?:Id|[a-z0-9]ID|[_-](?i:id))", re.DOTALL)


def redact(text: str) -> str:
    """Return a JSON document without personal data, at any depth, or the text itself where it holds none.

    A personal text becomes empty (the notification-service retries a null message for ever), anything else null.
    """
    document = json.loads(text, parse_int=Number, parse_float=Number, object_pairs_hook=tuple)
    left = _redacted("", document)
    return text if left == document else _emit(left)


def _redacted(member: str, value: Any) -> Any:
    """Return what is left of a value; an object is a tuple of pairs here, `member` the name the value stands under."""
    name = re.sub("[^a-z]", "", member.lower())
    is_id = _ID.fullmatch(member) is not None and "mail" not in name
    if name and not is_id and (name in _PERSONAL_NAMES or _PERSONAL.search(name) or _PERSONAL_WORD.search(member)):
        return "" if isinstance(value, str) and (not value or "mail" not in name) else None
    if isinstance(value, tuple):
        return tuple(
            (f"erased {number}" if _PERSONAL_TEXT.search(key) else key, _redacted(key, each))
            for number, (key, each) in enumerate(value, 1)
        )
    if isinstance(value, list):
        return [_redacted(member, each) for each in value]
    return "" if isinstance(value, str) and not is_id and _PERSONAL_TEXT.search(value) else value


def _emit(value: Any) -> str:
    if isinstance(value, tuple):
        return "{" + ",".join(f"{dumps(key)}:{_emit(member)}" for key, member in value) + "}"
    if isinstance(value, list):
        return compose_array(map(_emit, value))
    return value.text if isinstance(value, Number) else dumps(value)
