"""Clients for what every batch does.

A client of botocore takes every request through generic models, to validate, serialise and parse it, and that was most
of the CPU time of a batch. These know five operations, and raise what botocore's do.
"""

import json
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote_plus
from xml.etree import ElementTree as ET

from botocore.exceptions import ClientError

from event_service.adapters.aws import Endpoint

_OK: Final = 200
# What application/x-www-form-urlencoded has for each byte: https://url.spec.whatwg.org/#urlencoded-serializing
_FORM_CODES: Final = {byte: quote_plus(bytes([byte])) for byte in range(256)}


@dataclass(frozen=True, slots=True)
class DynamoDb:
    """The operations of DynamoDB that many events go through, each taking and answering what botocore's does.

    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.LowLevelAPI.html
    """

    endpoint: Endpoint

    def batch_execute_statement(self, **request: Any) -> Any:
        """Execute up to 25 PartiQL statements, each for itself."""
        return self._call("BatchExecuteStatement", request)

    def batch_get_item(self, **request: Any) -> Any:
        """Read up to 100 items."""
        return self._call("BatchGetItem", request)

    def query(self, **request: Any) -> Any:
        """Read up to 1 MB of a stream."""
        return self._call("Query", request)

    def scan(self, **request: Any) -> Any:
        """Read up to 1 MB of a table."""
        return self._call("Scan", request)

    def _call(self, operation: str, request: Any) -> Any:
        headers = {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": f"DynamoDB_20120810.{operation}"}
        status, body = self.endpoint.post(operation, _encode_json(request).encode(), headers)
        if status == _OK:
            return json.loads(body, object_hook=_with_bytes)
        try:
            code = json.loads(body)["__type"].rpartition("#")[2]
        except (ValueError, KeyError, AttributeError, TypeError):
            code = ""  # some other server's answer, between here and there
        raise _refusal(operation, status, code)


@dataclass(frozen=True, slots=True)
class Sns:
    """The operation of SNS that facts are published with, taking and answering what botocore's does.

    https://docs.aws.amazon.com/sns/latest/api/API_PublishBatch.html
    """

    endpoint: Endpoint

    def publish_batch(self, *, TopicArn: str, PublishBatchRequestEntries: Sequence[Mapping[str, Any]]) -> Any:  # noqa: N803
        """Publish up to 10 messages with String attributes."""
        fields = [("Action", "PublishBatch"), ("Version", "2010-03-31"), ("TopicArn", TopicArn)]
        for number, entry in enumerate(PublishBatchRequestEntries, 1):
            member = f"PublishBatchRequestEntries.member.{number}"
            fields += [(f"{member}.Id", entry["Id"]), (f"{member}.Message", entry["Message"])]
            for index, (name, value) in enumerate(entry["MessageAttributes"].items(), 1):
                attribute = f"{member}.MessageAttributes.entry.{index}"
                fields += [(f"{attribute}.Name", name), (f"{attribute}.Value.DataType", value["DataType"])]
                fields += [(f"{attribute}.Value.StringValue", value["StringValue"])]
        headers = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
        status, body = self.endpoint.post("PublishBatch", encode_form(fields), headers)
        try:
            answer = ET.fromstring(body)  # noqa: S314  # from AWS, over TLS
        except ET.ParseError as exc:
            if status == _OK:
                raise ValueError("SNS answered something else than XML") from exc
            raise _refusal("PublishBatch", status, "") from exc
        if status != _OK:
            raise _refusal("PublishBatch", status, answer.findtext(".//{*}Code") or "")
        return {"Successful": _members(answer, "Successful"), "Failed": _members(answer, "Failed")}


def encode_form(fields: Iterable[tuple[str, str]]) -> bytes:
    """Encode a form in UTF-8: what `urllib.parse.urlencode` does character by character, much faster."""
    return "&".join([f"{_encode(name)}={_encode(value)}" for name, value in fields]).encode()


def _encode(text: str) -> str:
    return text.encode().decode("latin-1").translate(_FORM_CODES)


def _members(answer: ET.Element, name: str) -> list[dict[str, Any]]:
    members = [
        {field.tag.rpartition("}")[2]: field.text or "" for field in member}
        for member in answer.iterfind(f"{{*}}PublishBatchResult/{{*}}{name}/{{*}}member")
    ]
    return [member | {"SenderFault": member.get("SenderFault") == "true"} for member in members]


def _base64(value: bytes) -> str:
    return b64encode(value).decode()


_encode_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=_base64).encode


def _with_bytes(value: dict[str, Any]) -> dict[str, Any]:
    """Decode a binary attribute value."""
    return {"B": b64decode(value["B"])} if isinstance(value.get("B"), str) else value


def _refusal(operation: str, status: int, code: str) -> ClientError:
    response: Any = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(response, operation)
