"""Serves the read API on this machine: passes HTTP requests to the function as API Gateway would."""

import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

from local.deployment import ROOT

PORT = 3000  # the port of `sam local start-api` too


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


@contextmanager
def served_api(answer: Callable[[dict[str, Any]], dict[str, Any]], port: int = PORT) -> Iterator[str]:
    """Serve the function at this port, or at a free one if it is taken; yield the address."""
    paths = resources()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # the name http.server calls
            reply = answer(proxy_event(self.path, paths))
            body = reply["body"].encode()
            self.send_response(reply["statusCode"])
            for name, values in reply["multiValueHeaders"].items():
                for value in values:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Log nothing: request lines contain ids."""

    with _server(port, Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://localhost:{server.server_port}"
        finally:
            server.shutdown()


def _server(port: int, handler: type[BaseHTTPRequestHandler]) -> ThreadingHTTPServer:
    try:
        with socket.create_connection(("localhost", port), timeout=1):
            port = 0  # something listens there already, perhaps on another address of this machine
    except OSError:
        pass
    try:
        return ThreadingHTTPServer(("127.0.0.1", port), handler)
    except OSError:
        return ThreadingHTTPServer(("127.0.0.1", 0), handler)
