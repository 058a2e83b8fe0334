"""Recognises and removes the personal data in an event."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from event_service.domain.redaction import redact


@pytest.mark.parametrize(
    ("data", "left"),
    [
        ({"email": "a@b.example", "userEmail": "a@b.example"}, {"email": None, "userEmail": None}),
        (
            {"E-Mail": "x", "contact_email": ["x"], "emailId": "x"},
            {"E-Mail": None, "contact_email": None, "emailId": None},
        ),
        ({"message": "Dentist", "url": "/x", "imageUrls": ["x"]}, {"message": "", "url": "", "imageUrls": None}),
        (
            {
                "imageURLs": 1,
                "URLValue": 1,
                "meetingurl": "x",
                "url_list": 1,
                "deepLinks": 1,
                "bodyHtml": "x",
                "URI": 1,
            },
            {"imageURLs": None, "URLValue": None, "meetingurl": "", "url_list": None, "deepLinks": None}
            | {"bodyHtml": "", "URI": None},
        ),
        ({"securityLevel": 3, "hourlyRate": 1, "HOURLY_RATE": 1, "during": "x", "rurality": {"a": 1}}, None),
        ({"message": None, "url": ""}, {"message": None, "url": ""}),
        ({"title": "Dentist", "note": {"deep": 1}}, {"title": "", "note": None}),
        ({"a": [{"b": {"message": "x", "kept": 1}}]}, {"a": [{"b": {"message": "", "kept": 1}}]}),
        ({"sender": "Al <a@b.example>", "see": ["HTTPS://x", "y"]}, {"sender": "", "see": ["", "y"]}),
        (
            {"see": "at Zoom.us/j/1", "there": ["b.example:80/x", "1.5/2", "and/or"], "user_name": "al", "mobile": 1},
            {"see": "", "there": ["", "1.5/2", "and/or"], "user_name": "", "mobile": None},
        ),
        ({"id": "a@b.example", "userId": "https://x", "messageId": "m"}, None),
        (
            {"paid": "a@b.example", "android": "ftp://x", "item_id": "https://x"},
            {"paid": "", "android": "", "item_id": "https://x"},
        ),
        ({"to": {"a@b.example": "yes", "c": 1}, "mail": "x"}, {"to": {"erased 1": "yes", "c": 1}, "mail": None}),
        ({"date": "2027-01-01T08:00:00Z", "notifyType": "email", "isRecurring": False, "notifyOffset": 0}, None),
    ],
)
def test_what_is_personal_goes_and_the_rest_stays(data: Any, left: Any) -> None:
    """By name at any depth, else by what a text holds; ids never."""
    assert json.loads(redact(json.dumps(data))) == (data if left is None else left)


def test_what_is_left_is_kept_to_the_last_digit() -> None:
    """Numbers, keys that occur twice and their order stay as they were; without personal data so does every blank."""
    text = '{"b": 1.10, "a": 1e400, "message": "x", "a": {}, "c": []}'
    assert redact(text) == '{"b":1.10,"a":1e400,"message":"","a":{},"c":[]}'
    assert redact('{ "b": 1.10 }') == '{ "b": 1.10 }'


KEYS = st.sampled_from(["message", "url", "email", "id", "userId", "title", "data", "x"])
TEXTS = st.sampled_from(["", "x", "a@b.example", "http://x"])
DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda each: st.lists(each, max_size=3) | st.dictionaries(KEYS, each, max_size=4),
)


@given(st.dictionaries(KEYS, DOCUMENTS, max_size=4))
def test_erasing_twice_is_erasing_once(data: Any) -> None:
    """So an interrupted erasure can be repeated, and verified."""
    once = redact(json.dumps(data))
    assert redact(once) == once
