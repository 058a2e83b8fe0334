"""The fault-injecting proxies between the function and its backends."""

import contextlib
import socketserver
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from .http_proxy import HttpHandler
from .postgres_proxy import PostgresHandler
from .script import Script


class Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """A proxy on a free port, which asks for the script that is on at every request."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, handler: type[Any], upstream: str, script: Callable[[], Script]) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.upstream = upstream
        self.script = script

    def handle_error(self, *_: object) -> None:
        """Note what went wrong here; a client that is gone did not."""
        if not isinstance(sys.exception(), ConnectionError):
            self.script().problems.append(traceback.format_exc())


@dataclass
class Proxy:
    """Both proxies; `script` is what they play."""

    script: Script
    endpoint_url: str = ""
    database_url: str = ""


@contextlib.contextmanager
def running_proxy(endpoint_url: str, database_url: str) -> Iterator[Proxy]:
    """Run proxies in front of an AWS endpoint and a database."""
    proxy = Proxy(Script())
    with contextlib.ExitStack() as stop:
        servers = [
            stop.enter_context(Server(handler, upstream, lambda: proxy.script))
            for handler, upstream in ((HttpHandler, endpoint_url), (PostgresHandler, database_url))
        ]
        for server in servers:
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
            stop.callback(server.shutdown)
        proxy.endpoint_url, proxy.database_url = (
            urlsplit(server.upstream)._replace(netloc=_netloc(server)).geturl() for server in servers
        )
        yield proxy


def _netloc(server: Server) -> str:
    user, at, _ = urlsplit(server.upstream).netloc.rpartition("@")
    return f"{user}{at}127.0.0.1:{server.server_address[1]}"
