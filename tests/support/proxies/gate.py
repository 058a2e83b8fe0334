"""A proxy that can be closed: while it is, connections break as if the server had gone."""

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.support.proxies.server import Server, running_server
from tests.support.proxies.stream import Breaks, StreamHandler


@dataclass
class Gate(Breaks):
    """Lets bytes pass while it is open."""

    is_open: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.is_open.set()

    def passes(self) -> bool:
        """Whether the next chunk passes."""
        return self.is_open.is_set()

    def close_for(self, seconds: float) -> None:
        """Close it now and open it again in the background."""
        self.is_open.clear()
        threading.Timer(seconds, self.is_open.set).start()


@contextlib.contextmanager
def gated(upstream: str) -> Iterator[tuple[Server, Gate]]:
    """Run a proxy before the server at a URL, open at first."""
    gate = Gate()
    with running_server(StreamHandler, upstream, lambda: gate) as server:
        yield server, gate
