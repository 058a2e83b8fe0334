"""Addresses and URLs are personal in every encoding that is common inside a text."""

import json
from collections.abc import Callable

import pytest

from event_service.domain.redaction import redact

ADDRESS, URL = "user@example.com", "https://zoom.example/j/123?pwd=abc"
ENCODINGS: dict[str, Callable[[str], str]] = {
    "plain": lambda text: text,
    "percent": lambda text: text.replace("@", "%40").replace(":", "%3A").replace("/", "%2F"),
    "percent, lower case": lambda text: text.replace("@", "%40").replace(":", "%3a").replace("/", "%2f"),
    "percent, twice": lambda text: text.replace("@", "%2540").replace(":", "%253A").replace("/", "%252F"),
    "escaped slashes": lambda text: text.replace("/", "\\/").replace("@", "\\u0040"),
    "JSON escapes": lambda text: text.replace("@", "\\u0040").replace("/", "\\u002F").replace(":", "\\u003a"),
    "JSON escapes, twice": lambda text: text.replace("@", "\\\\u0040").replace("/", "\\\\/"),
    "HTML, decimal": lambda text: text.replace("@", "&#64;").replace("/", "&#47;"),
    "HTML, hexadecimal": lambda text: text.replace("@", "&#x40;").replace("/", "&#x2F;"),
    "HTML, named": lambda text: text.replace("@", "&commat;").replace("/", "&sol;"),
    "full width": lambda text: text.replace("@", "＠").replace("/", "／").replace(":", "："),
    "percent in JSON": lambda text: json.dumps({"v": text.replace("@", "%40").replace("/", "%2F")}),
    "JSON in JSON": lambda text: json.dumps({"a": json.dumps({"v": text})}).replace("/", "\\/"),
}


@pytest.mark.parametrize("value", [ADDRESS, URL])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_personal_text_is_found_in_every_encoding(encoding: str, value: str) -> None:
    for text in (ENCODINGS[encoding](value), f"see {ENCODINGS[encoding](value)} or call"):
        assert json.loads(redact(json.dumps({"payload": text, "kept": 1}))) == {"payload": "", "kept": 1}


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_as_a_name_too(encoding: str) -> None:
    left = json.loads(redact(json.dumps({"seen": {ENCODINGS[encoding](ADDRESS): True}})))
    assert left == {"seen": {"erased 1": True}}


@pytest.mark.parametrize(
    "text", ["100%", "50%25", "a / b", "%zz", "\\u00", "&amp;", "at 10:30", "½", "path\\to", "e\\u0301", "C&A", "R&D;"]
)
def test_other_text_is_kept(text: str) -> None:
    document = json.dumps({"payload": text})
    assert redact(document) == document
