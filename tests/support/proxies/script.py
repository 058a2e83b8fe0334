"""Faults by script: the requests of a delivery are numbered, and a script has a fault for one of them."""

import contextlib
import select
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Generic, Literal, TypeVar

Answer = TypeVar("Answer")

Backend = Literal["dynamodb", "sns", "secretsmanager", "lambda", "postgresql"]
Mode = Literal["refuse", "drop the answer", "delay", "throttle", "error", "fail one entry", "kill before", "kill after"]
_HANG_UP_SECONDS = 20


@dataclass(frozen=True)
class Fault:
    """A fault of request number `at`, counted from 1.

    `onward`: it happens to all later requests of that backend, too; `everywhere`: and to those of the other backends.
    """

    mode: Mode
    at: int
    onward: bool = False
    everywhere: bool = False


@dataclass(frozen=True)
class Details:
    """The content of an HTTP request."""

    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Request:
    """A request as it is counted; those of PostgreSQL have no details."""

    backend: Backend
    operation: str
    details: Details | None = field(default=None, compare=False, repr=False)


@dataclass
class Exchange(Generic[Answer]):
    """A request that has arrived, and what can be done with it; all functions but `forward` invent an answer."""

    request: Request
    client: socket.socket
    forward: Callable[[], Answer]
    throttle: Callable[[], Answer]
    error: Callable[[], Answer]
    fail_one_entry: Callable[[], Answer]


@dataclass
class Script:
    """The requests of one delivery, in the order of their arrival, and the fault that awaits them."""

    fault: Fault | None = None
    kill: Callable[[], None] = lambda: None
    requests: list[Request] = field(default_factory=list)
    hit: Request | None = None
    victims: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    _under_way: int = 0
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def play(self, exchange: Exchange[Answer]) -> Answer | None:
        """Carry out a request as scripted; return the answer, or None to hang up."""
        with self._counted():
            return self._do(self._next(exchange.request), exchange)

    def choose(self, operation: str, entries: list[str]) -> int | None:
        """Return which entry of a request fails: its first, and in later ones of the operation only that one again."""
        with self._changed:
            victim = self.victims.setdefault(operation, entries[0])
        return entries.index(victim) if victim in entries else None

    def wait_until_quiet(self) -> None:
        """Wait until no request is in flight: one that was delayed may take effect late."""
        with self._changed:
            assert self._changed.wait_for(lambda: not self._under_way, 2 * _HANG_UP_SECONDS)
        assert not self.problems, "\n".join(self.problems)

    def _next(self, request: Request) -> Mode | None:
        with self._changed:
            self.requests.append(request)
            if self.fault is None:
                return None
            if len(self.requests) == self.fault.at:
                self.hit = request
                return self.fault.mode
            if self.hit is None or not self.fault.onward:
                return None
            goes_on = self.fault.everywhere or self.hit.backend == request.backend
            return self.fault.mode if goes_on else None

    def _do(self, mode: Mode | None, exchange: Exchange[Answer]) -> Answer | None:
        if mode == "throttle":
            return exchange.throttle()
        if mode == "fail one entry":
            return exchange.fail_one_entry()
        if mode == "kill before":
            self.kill()
        if mode in ("refuse", "kill before"):
            return None
        if mode == "delay":
            self._wait_for_hang_up(exchange.client)
        answer = exchange.forward()
        if mode == "error":
            return exchange.error()
        if mode == "kill after":
            self.kill()
        return answer if mode is None else None

    def _wait_for_hang_up(self, client: socket.socket) -> None:
        """Wait until the client, which sends nothing while it waits, gives up."""
        if not select.select([client], [], [], _HANG_UP_SECONDS)[0]:
            self.problems.append("the client waited for its answer without a limit")

    @contextlib.contextmanager
    def _counted(self) -> Iterator[None]:
        with self._changed:
            self._under_way += 1
        try:
            yield
        finally:
            with self._changed:
                self._under_way -= 1
                self._changed.notify_all()
