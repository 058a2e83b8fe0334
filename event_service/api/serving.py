"""A web server for one person: it listens on the loopback interface, and no other page of the browser can use it."""

import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Final

PORT: Final = 3000  # the port of `sam local start-api` too
_STOP_SECONDS: Final = 0.1  # how long stopping may take


@dataclass(frozen=True, slots=True)
class Reply:
    """A response to a request."""

    status: int
    headers: Sequence[tuple[str, str]]
    body: bytes


@contextmanager
def served(answer: Callable[[str], Reply], port: int = PORT) -> Iterator[str]:
    """Serve GET requests at this port, or at a free one if it is taken; yield the address.

    `answer` is called with the path and the query as they were sent.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # the name http.server calls
            if _from_elsewhere(self.headers.get):
                reply = Reply(403, [("Content-Type", "text/plain")], b"Open this address in the browser yourself\n")
            else:
                reply = answer(self.path)
            self.send_response(reply.status)
            for name, value in [*reply.headers, ("Content-Length", str(len(reply.body)))]:
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(reply.body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Log nothing: request lines contain ids."""

    with _server(port, Handler) as server:
        Thread(target=server.serve_forever, args=(_STOP_SECONDS,), daemon=True).start()
        try:
            yield f"http://localhost:{server.server_port}"
        finally:
            server.shutdown()


def _from_elsewhere(header: Callable[[str, str], str]) -> bool:
    """Return whether a page of another site made the browser send a request; `header` returns a header or a default.

    Such a request has that site as its origin, or is marked as coming from another site. If the site's own name was
    made to resolve to this machine (DNS rebinding), that name is its host.
    https://developer.mozilla.org/en-US/docs/Web/HTTP/Reference/Headers/Sec-Fetch-Site
    """
    host = header("Host", "")
    return (
        host.partition(":")[0] not in ("localhost", "127.0.0.1")
        or header("Origin", f"http://{host}") != f"http://{host}"
        or header("Sec-Fetch-Site", "none") not in ("none", "same-origin")
    )


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
