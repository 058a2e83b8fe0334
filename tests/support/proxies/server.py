"""The server of every proxy: it listens on a free port, and a handler carries each connection on to the upstream."""

import contextlib
import socketserver
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

_POLL_SECONDS = 0.05


class Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """A proxy before the server at the URL `upstream`; handlers ask it for the current script at every request."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(
        self, handler: type[Any], upstream: str, script: Callable[[], Any], report: Callable[[str], None]
    ) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.upstream = upstream
        self.script = script
        self._report = report

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self.server_address[1])

    @property
    def url(self) -> str:
        """The upstream's URL with the proxy's address in it."""
        parts = urlsplit(self.upstream)
        user, at, _ = parts.netloc.rpartition("@")
        return parts._replace(netloc=f"{user}{at}127.0.0.1:{self.port}").geturl()

    def handle_error(self, *_: object) -> None:
        """Report what went wrong in a handler; a connection that was lost is not an error."""
        if not isinstance(sys.exception(), OSError):
            self._report(traceback.format_exc())


@contextlib.contextmanager
def running_server(
    handler: type[Any], upstream: str, script: Callable[[], Any], report: Callable[[str], None] = lambda _: None
) -> Iterator[Server]:
    """Run a proxy before the server at a URL."""
    with Server(handler, upstream, script, report) as server:
        threading.Thread(target=server.serve_forever, args=(_POLL_SECONDS,), daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()
