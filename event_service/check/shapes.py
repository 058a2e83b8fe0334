"""Finds the SQS records in a file, whatever tool wrote it."""

import json
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

from event_service.codec.json_text import BYTE_ORDER_MARK

Json = dict[str, Any]

_EVENT_FIELDS: Final = frozenset({"eventData", "specversion"})  # no envelope has them
# Numbers need not be exact here: an event is always passed on as its text. int() refuses more than 4,300 digits.
_decoder: Final = json.JSONDecoder(parse_int=float)


def records_in(text: str, attributes: Mapping[str, str], *, by_line: bool = False) -> list[tuple[str, Any]]:
    """Return the records in a file, each with its place, such as `line 2: record 1` (empty for a single record).

    A bare message becomes the record that raw delivery would make of it, with `attributes` as message attributes.
    Any other text is returned as a bare message, which the function's own code then judges.
    `by_line`: the file is NDJSON even if its first line is not an object.
    """
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not by_line and (len(lines) < 2 or _decode(text) is not None or not isinstance(_decode(lines[0][1]), dict)):  # noqa: PLR2004
        return _with_places("record", _records_of(text, attributes))
    return [
        (f"line {number}" + (f": {place}" if place else ""), record)
        for number, line in lines
        for place, record in _with_places("record", _records_of(line, attributes))
    ]


def _with_places(name: str, records: list[Any]) -> list[tuple[str, Any]]:
    return [("" if len(records) == 1 else f"{name} {number}", record) for number, record in enumerate(records, 1)]


def _records_of(text: str, attributes: Mapping[str, str]) -> list[Any]:
    text = text.removeprefix(BYTE_ORDER_MARK)
    document = _decode(text)
    if isinstance(document, list) and document:
        elements = zip(document, _element_texts(text), strict=True)
        return [record for value, element in elements for record in _records_of_value(value, element, attributes)]
    return _records_of_value(document, text, attributes)


def _records_of_value(value: Any, text: str, attributes: Mapping[str, str]) -> list[Any]:
    if isinstance(value, dict) and not _EVENT_FIELDS & value.keys():
        if isinstance(value.get("Records"), list):  # what Lambda passes to a function
            return [_from_sns(record) for record in value["Records"]]
        if isinstance(value.get("Messages"), list):  # aws sqs receive-message
            return [_from_received(message) for message in value["Messages"]]
        if {"case", "message"} <= value.keys():  # a recorded message and its name
            value = value["message"]
        if isinstance(value, dict) and isinstance(value.get("Body"), str):
            return [_from_received(value)]
        if isinstance(value, dict) and (isinstance(value.get("body"), str) or isinstance(value.get("Sns"), dict)):
            return [_from_sns(value)]
    return [_raw_record(text, attributes)]


def _raw_record(body: str, attributes: Mapping[str, str]) -> Json:
    return {
        "body": body,
        "attributes": {"SentTimestamp": _now()},
        "messageAttributes": {name: {"stringValue": value} for name, value in attributes.items()},
    }


def _from_sns(record: Any) -> Any:
    """Return the SQS record of a notification that SNS passed to a function directly; any other record unchanged."""
    if isinstance(record, dict) and isinstance(record.get("Sns"), dict):
        return _raw_record(json.dumps(record["Sns"]), {})
    return record


def _from_received(message: Any) -> Any:
    """Return the record that Lambda makes of a message as SQS's API returns it.

    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_Message.html
    """
    if not isinstance(message, dict):
        return message
    attributes = message.get("MessageAttributes")
    return {
        "messageId": message.get("MessageId"),
        "body": message.get("Body"),
        # The API returns the time of sending only on request; every delivery has it.
        "attributes": {"SentTimestamp": _now()} | (message.get("Attributes") or {}),
        "messageAttributes": {
            name: {"stringValue": value.get("StringValue")} if isinstance(value, dict) else value
            for name, value in (attributes if isinstance(attributes, dict) else {}).items()
        },
    }


def _element_texts(text: str) -> Iterator[str]:
    """Yield the exact text of each element of a valid array."""
    at = text.index("[") + 1
    while True:
        while text[at] in " \t\n\r,":
            at += 1
        if text[at] == "]":
            return
        _, end = _decoder.raw_decode(text, at)
        yield text[at:end]
        at = end


def _decode(text: str) -> Any:
    try:
        return _decoder.decode(text.removeprefix(BYTE_ORDER_MARK))
    except (ValueError, RecursionError):
        return None


def _now() -> str:
    return str(time.time_ns() // 1_000_000)
