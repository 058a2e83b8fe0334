"""The proxy before the AWS emulator: it knows requests by service and operation, and can answer them itself."""

import http.client
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, cast
from urllib.parse import parse_qsl, urlencode, urlsplit
from xml.sax.saxutils import escape

from tests.support.proxies.script import Backend, Details, Exchange, Request

if TYPE_CHECKING:
    from tests.support.proxies.server import Server

_UPSTREAM_SECONDS = 30
_NOT_PASSED_ON = {"content-length", "connection", "transfer-encoding", "server", "date"}


@dataclass(frozen=True)
class Response:
    """An HTTP answer."""

    status: int
    headers: dict[str, str]
    body: bytes


Choose = Callable[[list[str]], int | None]
Forward = Callable[[bytes], Response]


class HttpHandler(BaseHTTPRequestHandler):
    """One connection of the function; botocore sends one request at a time on it."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 1 << 16

    def log_message(self, *_: object) -> None:
        """Log nothing."""

    def do_POST(self) -> None:
        """Carry out a request as scripted."""
        script = cast("Server", self.server).script()
        length = int(self.headers.get("Content-Length", -1))
        body = self.rfile.read(max(length, 0))
        if len(body) != length:  # killed while it sent this
            self.close_connection = True
            return
        request = _request(dict(self.headers), body)
        exchange = Exchange(
            request,
            self.connection,
            forward=lambda: self._forward(body),
            throttle=lambda: _refusal(request, 400, "ThrottlingException", "Throttling"),
            error=lambda: _refusal(request, 500, "InternalServerError", "InternalError"),
            fail_one_entry=lambda: _without_one(
                request, body, partial(script.choose, request.operation), self._forward
            ),
        )
        response = script.play(exchange)
        if response is None:
            self.close_connection = True
            return
        self.send_response(response.status)
        for name, value in response.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(response.body)))
        self.end_headers()
        self.wfile.write(response.body)

    def _forward(self, body: bytes) -> Response:
        upstream = urlsplit(cast("Server", self.server).upstream)
        connection = http.client.HTTPConnection(upstream.netloc, timeout=_UPSTREAM_SECONDS)
        try:
            connection.request("POST", self.path, body, _passed_on(dict(self.headers)))
            answer = connection.getresponse()
            return Response(answer.status, _passed_on(dict(answer.getheaders())), answer.read())
        finally:
            connection.close()


def _passed_on(headers: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() not in _NOT_PASSED_ON}


def _request(headers: dict[str, str], body: bytes) -> Request:
    """Name a request: SNS's by the form field `Action`, Lambda's by having none, all others by their target header."""
    details = Details(headers, body)
    if "X-Amz-Target" not in headers:
        action = dict(parse_qsl(body.decode())).get("Action")
        return Request("sns", action, details) if action else Request("lambda", "Invoke", details)
    service, _, operation = headers["X-Amz-Target"].rpartition(".")
    backend: Backend = "dynamodb" if service.startswith("DynamoDB") else "secretsmanager"
    return Request(backend, operation, details)


def _refusal(request: Request, status: int, dynamodb_code: str, sns_code: str) -> Response:
    if request.backend == "dynamodb":
        return _json({"__type": f"com.amazonaws.dynamodb.v20120810#{dynamodb_code}", "message": "no"}, status)
    fault = "Sender" if status == 400 else "Receiver"
    error = f"<Error><Type>{fault}</Type><Code>{sns_code}</Code><Message>no</Message></Error>"
    return _xml(f"<ErrorResponse>{error}<RequestId>1</RequestId></ErrorResponse>", status)


def _without_one(request: Request, body: bytes, choose: Choose, forward: Forward) -> Response:
    """Answer a batch request of which one entry is throttled and the others are forwarded."""
    kinds = {
        "BatchExecuteStatement": _without_a_statement,
        "BatchGetItem": _without_a_key,
        "PublishBatch": _without_a_message,
        "Query": _without_the_stream,
    }
    return kinds[request.operation](body, choose, forward)


def _without_a_statement(body: bytes, choose: Choose, forward: Forward) -> Response:
    content = json.loads(body)
    statements = content["Statements"]
    index = choose([json.dumps(statement["Parameters"][:2]) for statement in statements])
    if index is None:
        return forward(body)
    others = content | {"Statements": statements[:index] + statements[index + 1 :]}
    answer = json.loads(forward(json.dumps(others).encode()).body) if others["Statements"] else {"Responses": []}
    answer["Responses"].insert(index, {"Error": {"Code": "ThrottlingError", "Message": "no"}})
    return _json(answer)


def _without_a_key(body: bytes, choose: Choose, forward: Forward) -> Response:
    content = json.loads(body)
    ((table, wanted),) = content["RequestItems"].items()
    index = choose([json.dumps(key) for key in wanted["Keys"]])
    if index is None:
        return forward(body)
    others = [key for number, key in enumerate(wanted["Keys"]) if number != index]
    request = json.dumps({"RequestItems": {table: wanted | {"Keys": others}}}).encode()
    answer = json.loads(forward(request).body) if others else {"Responses": {table: []}}
    return _json(answer | {"UnprocessedKeys": {table: wanted | {"Keys": [wanted["Keys"][index]]}}})


def _without_the_stream(body: bytes, choose: Choose, forward: Forward) -> Response:
    stream = json.dumps(json.loads(body)["ExpressionAttributeValues"])
    throttled = {"__type": "com.amazonaws.dynamodb.v20120810#ThrottlingException", "message": "no"}
    return forward(body) if choose([stream]) is None else _json(throttled, 400)


def _without_a_message(body: bytes, choose: Choose, forward: Forward) -> Response:
    fields = parse_qsl(body.decode(), keep_blank_values=True)
    prefix = "PublishBatchRequestEntries.member."
    entries: dict[str, dict[str, str]] = {}
    for name, value in fields:
        if name.startswith(prefix):
            number, _, member = name.removeprefix(prefix).partition(".")
            entries.setdefault(number, {})[member] = value
    index = choose([entry["Message"] for entry in entries.values()])
    if index is None:
        return forward(body)
    failed = [*entries.values()][index]
    others = [entry for entry in entries.values() if entry is not failed]
    rest = [(name, value) for name, value in fields if not name.startswith(prefix)]
    rest += [(f"{prefix}{n}.{name}", value) for n, entry in enumerate(others, 1) for name, value in entry.items()]
    if others:
        assert forward(urlencode(rest).encode()).status == 200
    accepted = "".join(f"<member><Id>{escape(e['Id'])}</Id><MessageId>1</MessageId></member>" for e in others)
    code = "<Code>Throttling</Code><Message>no</Message><SenderFault>false</SenderFault>"
    refused = f"<member><Id>{escape(failed['Id'])}</Id>{code}</member>"
    result = f"<Successful>{accepted}</Successful><Failed>{refused}</Failed>"
    return _xml(
        f"<PublishBatchResponse><PublishBatchResult>{result}</PublishBatchResult>"
        "<ResponseMetadata><RequestId>1</RequestId></ResponseMetadata></PublishBatchResponse>"
    )


def _json(content: object, status: int = 200) -> Response:
    return Response(status, {"Content-Type": "application/x-amz-json-1.0"}, json.dumps(content).encode())


def _xml(content: str, status: int = 200) -> Response:
    return Response(status, {"Content-Type": "text/xml"}, content.encode())
