"""The proxy that knows no protocol: it passes bytes on, and can break connections at random."""

import contextlib
import random
import socket
import socketserver
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import urlsplit

from tests.support.proxies.server import Server, running_server

_CHUNK_BYTES = 65536


@dataclass
class Breaks:
    """Breaks a connection at a share of the chunks that pass either way: a request or its answer is lost."""

    share: float = 0.0
    broken: int = 0
    rng: random.Random = field(default_factory=lambda: random.Random(1))

    def passes(self) -> bool:
        """Whether the next chunk passes."""
        if self.rng.random() >= self.share:
            return True
        self.broken += 1
        return False


class StreamHandler(socketserver.BaseRequestHandler):
    """One connection."""

    def handle(self) -> None:
        """Pass bytes on both ways until either side hangs up or the connection is broken."""
        server = cast("Server", self.server)
        upstream = urlsplit(server.upstream)
        with (
            contextlib.suppress(OSError),
            self.client() as client,
            socket.create_connection((upstream.hostname, upstream.port)) as backend,
        ):
            answers = threading.Thread(target=_pump, args=(backend, client, server.script()), daemon=True)
            answers.start()
            _pump(client, backend, server.script())
            answers.join()

    def client(self) -> socket.socket:
        """The connection to the client."""
        return cast("socket.socket", self.request)


def _pump(source: socket.socket, sink: socket.socket, breaks: Breaks) -> None:
    with contextlib.suppress(OSError):
        while (chunk := source.recv(_CHUNK_BYTES)) and breaks.passes():
            sink.sendall(chunk)
    for end in (source, sink):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def breaking_proxy(upstream: str, breaks: Breaks) -> Iterator[Server]:
    """Run a proxy before the server at a URL."""
    with running_server(StreamHandler, upstream, lambda: breaks) as server:
        yield server
