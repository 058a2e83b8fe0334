"""Clients for the operations that every batch uses.

A botocore client more than doubles the CPU time of a batch (docs/clients.md). These clients take and return what it
does. They raise ClientError when AWS refuses a request, urllib3's HTTPError when it does not respond, and ValueError
when a response cannot be read, in which case the request may have been carried out.
"""

import json
import string
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from botocore.exceptions import ClientError
from botocore.parsers import ResponseParserError, create_parser

from event_service.adapters.aws import Response, Transport

_FIRST_ERROR_STATUS: Final = 300
# The bytes that application/x-www-form-urlencoded does not escape: https://url.spec.whatwg.org/#urlencoded-serializing
_UNRESERVED: Final = (string.ascii_letters + string.digits + "-._~").encode()


@dataclass(frozen=True, slots=True)
class DynamoDb:
    """The operations of DynamoDB that many items pass through.

    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.LowLevelAPI.html
    """

    transport: Transport

    def batch_execute_statement(self, **request: Any) -> Any:
        """Execute up to 25 independent PartiQL statements."""
        return self._call("BatchExecuteStatement", request)

    def batch_get_item(self, **request: Any) -> Any:
        """Read up to 100 items."""
        return self._call("BatchGetItem", request)

    def scan(self, **request: Any) -> Any:
        """Read up to 1 MB of a table."""
        return self._call("Scan", request)

    def _call(self, operation: str, request: Any) -> Any:
        headers = {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": f"DynamoDB_20120810.{operation}"}
        response = self.transport.post(operation, _encode_json(request).encode(), headers)
        if response.status >= _FIRST_ERROR_STATUS:
            raise _error("json", operation, response)
        return json.loads(response.body, object_hook=_decode_binary)


@dataclass(frozen=True, slots=True)
class Sns:
    """The batch operation of SNS: https://docs.aws.amazon.com/sns/latest/api/API_PublishBatch.html ."""

    transport: Transport

    def publish_batch(self, *, TopicArn: str, PublishBatchRequestEntries: Sequence[Mapping[str, Any]]) -> Any:  # noqa: N803
        """Publish up to 10 messages."""
        form = [("Action", "PublishBatch"), ("Version", "2010-03-31"), ("TopicArn", TopicArn)]
        for number, entry in enumerate(PublishBatchRequestEntries, 1):
            member = f"PublishBatchRequestEntries.member.{number}"
            form += [(f"{member}.Id", entry["Id"]), (f"{member}.Message", entry["Message"])]
            for position, (name, value) in enumerate(entry["MessageAttributes"].items(), 1):
                attribute = f"{member}.MessageAttributes.entry.{position}"
                form.append((f"{attribute}.Name", name))
                form += [(f"{attribute}.Value.{field}", _text(content)) for field, content in value.items()]
        headers = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
        response = self.transport.post("PublishBatch", encode_form(form), headers)
        if response.status >= _FIRST_ERROR_STATUS:
            raise _error("query", "PublishBatch", response)
        shape = self.transport.client.meta.service_model.operation_model("PublishBatch").output_shape
        try:
            return _parse("query", response, shape)
        except (ResponseParserError, KeyError) as exc:
            raise ValueError("the response of SNS is not that of PublishBatch") from exc


def encode_form(fields: Iterable[tuple[str, str]]) -> bytes:
    """Encode a form in UTF-8, as `urllib.parse.urlencode` does, in one pass over the whole form."""
    # The bytes FE and FF do not occur in UTF-8: here they mark the places of = and & until the rest is escaped.
    form = b"\xff".join([b"%b\xfe%b" % (name.encode(), value.encode()) for name, value in fields])
    reserved = set(form.translate(None, _UNRESERVED + b"% \xfe\xff"))
    form = form.replace(b"%", b"%25")
    for byte in reserved:
        form = form.replace(b"%c" % byte, b"%%%02X" % byte)
    return form.replace(b" ", b"+").replace(b"\xfe", b"=").replace(b"\xff", b"&")


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else b64encode(value).decode()


_encode_json: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=_text).encode


def _decode_binary(value: dict[str, Any]) -> dict[str, Any]:
    """Decode a binary attribute value; leave every other object as it is."""
    return {"B": b64decode(value["B"])} if isinstance(value.get("B"), str) else value


def _parse(protocol: str, response: Response, shape: Any) -> Any:
    answer = {"status_code": response.status, "headers": response.headers, "body": response.body}
    return create_parser(protocol).parse(answer, shape)


def _error(protocol: str, operation: str, response: Response) -> ClientError:
    status = response.status
    try:
        parsed = _parse(protocol, response, None)
    except Exception:  # noqa: BLE001  # a proxy's or a load balancer's response, which the parser does not expect
        parsed = {"Error": {"Code": str(status)}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(parsed, operation)
