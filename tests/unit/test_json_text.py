import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from event_service.codec.json_text import (
    MAX_DEPTH_OF_FACTS,
    json_object,
    parse_object,
    raw_members,
    same_value,
    string_value,
)
from event_service.codec.jsonb import replace_unstorable
from event_service.errors import Rejected

TEXT = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
    max_leaves=20,
)


def nested(levels: int) -> str:
    return '{"a":' + "[" * (levels - 1) + "]" * (levels - 1) + "}"


@given(st.dictionaries(TEXT, JSON), st.sampled_from([None, 1]), st.booleans())
def test_an_object_is_read_like_json_loads_does(value: dict[str, Any], indent: int | None, ascii_only: bool) -> None:
    """Each member's text is exactly what the document contains, whatever its layout."""
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    assert parse_object(text, "body") == json.loads(text, parse_int=float)
    texts = raw_members(text)
    assert {key: json.loads(member) for key, member in texts.items()} == value
    assert all(member in text for member in texts.values())
    assert json.loads(json_object(texts)) == value


@given(st.text('{}[]":,\\u0 \n1eE+-.atrue', max_size=30))
def test_what_is_accepted_is_what_json_loads_accepts(text: str) -> None:
    """The reader of top-level members is neither more lenient nor stricter."""
    try:
        expected = json.loads(text)
    except ValueError:
        expected = None
    try:
        parse_object(text, "body")
        accepted = True
    except Rejected as exc:
        accepted = exc.reason in ("invalid_text", "not_finite")
    assert accepted == isinstance(expected, dict)


def test_every_digit_of_a_number_is_kept() -> None:
    """Neither precision, nor trailing zeros, nor more digits than int() takes are lost."""
    number = "1" * 5000 + ".10"
    assert raw_members(f'{{"a": {number}}}') == {"a": number}


def test_a_member_keeps_its_text_exactly() -> None:
    """White space, order and repeated keys inside a member stay; of repeated keys at the top the last counts."""
    texts = raw_members(' { "a":1, "b" : { "y":1.0 , "x":2,"y":3 } ,"a":2 , "c\\u0064":"\\"}" , "e":[ ] , "f":true } ')
    assert texts == {"a": "2", "b": '{ "y":1.0 , "x":2,"y":3 }', "cd": '"\\"}"', "e": "[ ]", "f": "true"}


@pytest.mark.parametrize(
    ("text", "reason", "field"),
    [
        ("", "not_json", "body"),
        ("{", "not_json", "body"),
        ("[]", "not_json", "body"),
        ('{"a":1,}', "not_json", "body"),
        ('{"a":1} x', "not_json", "body"),
        ('{"a":01}', "not_json", "body"),
        ('{"a":"\x00"}', "not_json", "body"),
        ('\ufeff{"a":1}', "not_json", "body"),
        ('{"a":NaN}', "not_finite", "body.a"),
        ('{"a":["NaN", {"b": -Infinity}]}', "not_finite", "body.a[1].b"),
        (nested(MAX_DEPTH_OF_FACTS + 1), "too_deep", "body"),
        ("[" * 100_000, "too_deep", "body"),
        ('{"a":' * 100_000, "too_deep", "body"),
        (nested(MAX_DEPTH_OF_FACTS + 1).replace("[]", '["]",{}]'), "too_deep", "body"),
        ("[{}," * 50 + "[]" * 60, "not_json", "body"),
        ("{" + "[]" * 100 + '"' + "[" * 100, "not_json", "body"),
        ('{"a":{"b":["x","\\u0000"]}}', "invalid_text", "body.a.b[1]"),
        ('{"a":{"b\\u0000":1}}', "invalid_text", "body.a"),
        ('{"a":"\\ud800"}', "invalid_text", "body.a"),
        ('{"a":"\\udc00\\ud800"}', "invalid_text", "body.a"),
        ('{"a":"\ud800"}', "invalid_text", "body"),
        ('{"me@example.com":"\\u0000"}', "invalid_text", "body.*"),
        ('{"a":{"me@example.com":{"\\u0000":1}}}', "invalid_text", "body.a.*"),
    ],
)
def test_what_cannot_be_stored_is_rejected_with_its_place(text: str, reason: str, field: str) -> None:
    """The path never shows a key that may be data itself."""
    with pytest.raises(Rejected) as caught:
        parse_object(text, "body")
    assert (caught.value.reason, caught.value.field) == (reason, field)


@pytest.mark.parametrize(
    "text",
    [
        nested(MAX_DEPTH_OF_FACTS),
        '{"a":"' + "[" * 1000 + '"}',
        '{"a":"\\\\u0000 \\\\ud800"}',
        '{"a":"\\ud83d\\ude00"}',
        json.dumps({"a": [[]] * 1000}),
        json.dumps({"a": [{"b": [{}, "]"]}] * 1000}),
    ],
)
def test_what_only_looks_unstorable_is_accepted(text: str) -> None:
    """Brackets in strings, escaped backslashes, surrogate pairs and width are accepted."""
    assert "a" in parse_object(text, "body")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1", "1.0"),
        ("100", "1e2"),
        ("0.1", "1E-1"),
        ("0", "-0.0"),
        ("1" * 5000, "1" * 5000 + ".0"),
        ("1e999999999999", "10e999999999998"),
        ("1e99999999999999999999", "1e99999999999999999999"),
    ],
)
def test_numbers_are_equal_by_value(one: str, other: str) -> None:
    """However a number is written, it is the same number."""
    assert same_value(f'{{"a": {one}}}', f'{{"a":{other}}}')


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1", "-1"),
        ("1", "10"),
        ("1e400", "1e401"),
        ("9007199254740993", "9007199254740992"),
        ("1", '"1"'),
        ("1", "[1]"),
        ("1e99999999999999999999", "1e99999999999999999998"),
    ],
)
def test_different_numbers_are_different(one: str, other: str) -> None:
    """Even if floats could not tell them apart."""
    assert not same_value(f'{{"a":{one}}}', f'{{"a":{other}}}')


@pytest.mark.parametrize(
    ("text", "replaced"),
    [
        ('{"a":"\\ud83d"}', '{"a":"\ufffd"}'),
        ('{"a":"x\\u0000y\\uDE00"}', '{"a":"x\ufffdy\ufffd"}'),
        ('{"a":"\\ud83d\\ude00 \\\\ud83d \\\\u0000"}', '{"a":"\\ud83d\\ude00 \\\\ud83d \\\\u0000"}'),
        ('{"a":"\\ude00\\ud83d\\ud83d\\ude00"}', '{"a":"\ufffd\ufffd\\ud83d\\ude00"}'),
    ],
)
def test_what_no_backend_can_hold_is_replaced(text: str, replaced: str) -> None:
    """Escaped NUL characters and halves of surrogate pairs become U+FFFD; pairs and escaped backslashes stay."""
    assert replace_unstorable(text) == replaced
    json.loads(replaced)["a"].encode()


def test_the_values_of_event_data_may_hold_half_an_emoji() -> None:
    """Nothing else may, neither a name in it nor another field."""
    half, paths = '"\\ud83d\\u0000"', ("body.eventData", "body.data.eventData")
    for accepted in (f'{{"eventData":{{"a":[{half}]}}}}', f'{{"data":{{"eventData":{{"a":{half}}}}}}}'):
        parse_object(accepted, "body", paths)
    for rejected in (f'{{"userId":{half}}}', f'{{"eventData":{{{half}:1}}}}', f'{{"x":{{"eventData":{half}}}}}'):
        with pytest.raises(Rejected, match="holds a lone surrogate") as caught:
            parse_object(rejected, "body", paths)
        assert caught.value.reason == "invalid_text"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ('{"a":1,"b":"x"}', '{ "b":"\\u0078", "a":1.0 }', True),
        ('{"a":1}', '{"a":true}', False),
        ('{"a":[1,2]}', '{"a":[2,1]}', False),
        ('{"a":null}', "{}", False),
    ],
)
def test_objects_are_compared_as_json_values(one: str, other: str, *, same: bool) -> None:
    """Layout, order and escapes do not matter; types do."""
    assert same_value(one, other) is same


@pytest.mark.parametrize(
    ("text", "string"), [(None, None), ("1", None), ("null", None), ('"a\\u0062"', "ab"), ('""', "")]
)
def test_only_json_strings_are_read_as_strings(text: str | None, string: str | None) -> None:
    """By the text of a member."""
    assert string_value(text) == string
