"""The proxy before PostgreSQL: a connection's start and every round trip up to ReadyForQuery is a request.

https://www.postgresql.org/docs/16/protocol-message-formats.html
"""

import re
import socket
import socketserver
import struct
from typing import TYPE_CHECKING, BinaryIO, cast
from urllib.parse import urlsplit

from tests.support.proxies.script import Exchange, Request

if TYPE_CHECKING:
    from tests.support.proxies.server import Server

_ENCRYPTION_REQUESTS = (80877103, 80877104)  # SSL and GSSAPI
_LENGTH = struct.Struct("!I")
_READY = b"Z" + _LENGTH.pack(5) + b"I"
_UPSTREAM_SECONDS = 30


class PostgresHandler(socketserver.BaseRequestHandler):
    """One connection of the function."""

    def handle(self) -> None:
        """Carry out the start of the connection and its requests as scripted, until either side hangs up."""
        client = cast("socket.socket", self.request)
        upstream = urlsplit(cast("Server", self.server).upstream)
        address = (upstream.hostname, upstream.port)
        with (
            client.makefile("rb") as requests,
            socket.create_connection(address, timeout=_UPSTREAM_SECONDS) as server,
            server.makefile("rb") as answers,
        ):
            request = _read_startup(client, requests)
            operation = "connect"
            while request:
                answer = self._play(operation, request, server, answers)
                if not answer:
                    return
                client.sendall(answer)
                if not answer.endswith(_READY):
                    return
                request = _read_request(requests)
                operation = _operation(request)

    def _play(self, operation: str, request: bytes, server: socket.socket, answers: BinaryIO) -> bytes | None:
        def forward() -> bytes:
            server.sendall(request)
            return _read_answer(answers)

        def throttle() -> bytes:
            if operation == "connect":
                return _error("FATAL", "53300", "too many connections")
            return _error("ERROR", "40P01", "deadlock detected") + _READY

        exchange = Exchange(
            Request("postgresql", operation),
            cast("socket.socket", self.request),
            forward=forward,
            throttle=throttle,
            error=lambda: _error("FATAL", "57P01", "terminating connection due to administrator command"),
            fail_one_entry=forward,
        )
        answer: bytes | None = cast("Server", self.server).script().play(exchange)
        return answer


def _read_startup(client: socket.socket, requests: BinaryIO) -> bytes:
    """Return the startup message; a request for encryption before it is declined."""
    while len(head := requests.read(8)) == 8:
        length, code = struct.unpack("!II", head)
        if code not in _ENCRYPTION_REQUESTS:
            return head + requests.read(length - 8)
        client.sendall(b"N")
    return b""


def _read_request(requests: BinaryIO) -> bytes:
    """Return the messages up to a simple query or Sync, nothing where the client ends."""
    request = b""
    while message := _read_message(requests):
        request += message
        if message[:1] in b"QS":
            return request
        if message[:1] == b"X":
            break
    return b""


def _operation(request: bytes) -> str:
    """Name a statement by the function of the migrations that it calls; the others prepare a session."""
    called = re.search(rb" FROM (apply_events|acknowledge_facts)\(", request)
    return called[1].decode() if called else "setting"


def _read_answer(answers: BinaryIO) -> bytes:
    """Return the messages up to ReadyForQuery, or up to where the server hangs up."""
    answer = b""
    while message := _read_message(answers):
        answer += message
        if message[:1] == b"Z":
            break
    return answer


def _read_message(stream: BinaryIO) -> bytes:
    try:
        head = stream.read(5)
        if len(head) < 5:
            return b""
        length = _LENGTH.unpack(head[1:])[0] - 4
        body = stream.read(length)
    except ConnectionError:
        return b""
    return head + body if len(body) == length else b""


def _error(severity: str, code: str, text: str) -> bytes:
    fields = b"".join(
        f"{kind}{value}\0".encode() for kind, value in (("S", severity), ("V", severity), ("C", code), ("M", text))
    )
    return b"E" + _LENGTH.pack(len(fields) + 5) + fields + b"\0"
