"""A proxy that passes requests on to the AWS emulator and notes what each is: service, operation, resource."""

import http.client
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

# What IAM wants for an operation: https://docs.aws.amazon.com/service-authorization/latest/reference/
# A PartiQL INSERT: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/ql-iam.html
# A batch of messages: https://docs.aws.amazon.com/sns/latest/dg/sns-batch-api-actions.html
ACTIONS = {
    ("dynamodb", "BatchExecuteStatement INSERT"): "dynamodb:PartiQLInsert",
    ("dynamodb", "BatchGetItem"): "dynamodb:BatchGetItem",
    ("dynamodb", "Query"): "dynamodb:Query",
    ("sns", "PublishBatch"): "sns:Publish",
    ("secretsmanager", "GetSecretValue"): "secretsmanager:GetSecretValue",
}


@dataclass
class Wire:
    """The proxy's address, and the requests it saw as (service, operation, resource)."""

    url: str
    seen: set[tuple[str, str, str]] = field(default_factory=set)

    def actions(self) -> set[tuple[str, str]]:
        """Return what IAM has to allow, as (action, resource); an operation without an action here is an error."""
        return {(ACTIONS[service, operation], resource) for service, operation, resource in self.seen}


@contextmanager
def recording(upstream: str) -> Iterator[Wire]:
    """Run the proxy before the emulator."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            wire.seen.update(_requests(dict(self.headers), body))
            connection = http.client.HTTPConnection(urlsplit(upstream).netloc, timeout=30)
            headers = {name: value for name, value in self.headers.items() if name.lower() != "content-length"}
            connection.request("POST", self.path, body, headers)
            answer = connection.getresponse()
            content = answer.read()
            connection.close()
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.getheader("Content-Type") or "")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        wire = Wire(f"http://127.0.0.1:{server.server_port}")
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield wire
        server.shutdown()


def _requests(headers: dict[str, str], body: bytes) -> Iterator[tuple[str, str, str]]:
    """Name a request by what its signature is for, its operation, and each resource in it."""
    signed = re.search(r"Credential=[^/]+/\d+/[^/]+/([^/]+)/aws4_request", headers["Authorization"])
    assert signed is not None
    service = signed[1]
    if "X-Amz-Target" not in headers:
        form = parse_qs(body.decode())
        yield service, form["Action"][0], form["TopicArn"][0]
        return
    operation, content = headers["X-Amz-Target"].rpartition(".")[2], json.loads(body)
    match operation:
        case "BatchExecuteStatement":
            for statement in content["Statements"]:
                verb, table = _partiql(statement["Statement"])
                yield service, f"{operation} {verb}", table
        case "BatchGetItem":
            for table in content["RequestItems"]:
                yield service, operation, table
        case _:
            yield service, operation, _resource(content)


def _partiql(statement: str) -> tuple[str, str]:
    match = re.match(r'(\w+)\s+(?:INTO\s+)?"([^"]+)"', statement)
    assert match is not None, statement
    return match[1].upper(), match[2]


def _resource(content: dict[str, Any]) -> str:
    if "SecretId" in content:
        return str(content["SecretId"])
    index = f"/index/{content['IndexName']}" if "IndexName" in content else ""
    return str(content["TableName"]) + index
