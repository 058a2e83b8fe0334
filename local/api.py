"""Serves the read API on this machine: passes HTTP requests to the function as API Gateway would."""

import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any
from urllib.parse import parse_qs, urlsplit

from event_service.api.serving import PORT, Reply, served
from local.deployment import ROOT


def resources() -> list[str]:
    """Return the function's paths in the template, the catch-all last."""
    found = re.findall(r"^ +Path: (/\S*)$", (ROOT / "template.yaml").read_text(), re.MULTILINE)
    return sorted(found, key=lambda path: "+" in path)


def proxy_event(target: str, paths: list[str]) -> dict[str, Any]:
    """Return the event of a GET request to a REST API: path and parameters as they were sent."""
    url = urlsplit(target)
    query = parse_qs(url.query, keep_blank_values=True)
    for resource in paths:
        pattern = re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(resource).replace(r"\{proxy\+\}", "(?P<proxy>.*)"))
        if match := re.fullmatch(pattern, url.path):
            break
    else:
        raise ValueError(f"the template has no path for {target}")
    return {
        "resource": resource,
        "path": url.path,
        "httpMethod": "GET",
        "headers": {},
        "multiValueHeaders": {},
        "queryStringParameters": {name: values[-1] for name, values in query.items()} or None,
        "multiValueQueryStringParameters": query or None,
        "pathParameters": match.groupdict() or None,
        "stageVariables": None,
        "requestContext": {"path": url.path, "stage": "local", "httpMethod": "GET"},
        "body": None,
        "isBase64Encoded": False,
    }


def served_api(answer: Callable[[dict[str, Any]], dict[str, Any]], port: int = PORT) -> AbstractContextManager[str]:
    """Serve the function at this port, or at a free one if it is taken; the context's value is the address."""
    paths = resources()

    def reply(target: str) -> Reply:
        response = answer(proxy_event(target, paths))
        headers = [(name, value) for name, values in response["multiValueHeaders"].items() for value in values]
        return Reply(response["statusCode"], headers, response["body"].encode())

    return served(reply, port)
