"""A TCP proxy that breaks connections at random, before a request got through or before its answer did."""

import contextlib
import random
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Proxy:
    """Its port, and the share of the chunks passing either way at which it breaks the connection; both may change."""

    target: tuple[str, int]
    share: float = 0.0
    broken: int = 0
    port: int = 0
    rng: random.Random = field(default_factory=lambda: random.Random(1))

    def passes(self) -> bool:
        if self.rng.random() >= self.share:
            return True
        self.broken += 1
        return False


@contextmanager
def running_proxy(host: str, port: int) -> Iterator[Proxy]:
    """Run a proxy before a server."""
    proxy = Proxy((host, port))
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        proxy.port = server.getsockname()[1]
        threading.Thread(target=_accept, args=(server, proxy), daemon=True).start()
        yield proxy


def _accept(server: socket.socket, proxy: Proxy) -> None:
    with contextlib.suppress(OSError):  # the server was closed: the end
        while True:
            client, _ = server.accept()
            try:
                backend = socket.create_connection(proxy.target)
            except OSError:
                client.close()
                continue
            for source, sink in ((client, backend), (backend, client)):
                threading.Thread(target=_pump, args=(source, sink, proxy), daemon=True).start()


def _pump(source: socket.socket, sink: socket.socket, proxy: Proxy) -> None:
    with contextlib.suppress(OSError):
        while (chunk := source.recv(65536)) and proxy.passes():
            sink.sendall(chunk)
    for end in (source, sink):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
        end.close()
