"""Records the requests to AWS on the wire: service, operation and resource of each."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

from tests.support.proxies.http import HttpHandler
from tests.support.proxies.script import Script
from tests.support.proxies.server import running_server

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
    """A proxy before the AWS emulator at `url`, and the requests that it passed on."""

    url: str
    script: Script = field(default_factory=Script)

    def take_actions(self) -> set[tuple[str, str]]:
        """What IAM has to allow for the requests since the last call, as (action, resource).

        An operation without an entry in `ACTIONS` is an error.
        """
        requests, self.script.requests[:] = [*self.script.requests], []
        details = [request.details for request in requests if request.details is not None]
        return {
            (ACTIONS[service, operation], resource)
            for each in details
            for service, operation, resource in _requests(each.headers, each.body)
        }


@contextmanager
def recording(upstream: str) -> Iterator[Wire]:
    """Run the proxy before the emulator."""
    script = Script()
    with running_server(HttpHandler, upstream, lambda: script, script.problems.append) as server:
        yield Wire(server.url, script)
    assert not script.problems, script.problems


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
