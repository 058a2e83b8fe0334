"""A TLS endpoint before a PostgreSQL without TLS, and its certificates."""

import datetime as dt
import socket
import ssl
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.support.proxies.server import Server, running_server
from tests.support.proxies.stream import Breaks, StreamHandler

# https://www.postgresql.org/docs/current/protocol-message-formats.html: SSLRequest, and ErrorResponse
_SSL_REQUEST = struct.pack("!ii", 8, 80877103)
_STARTUP_BYTES = 10_000
_REASON = b"SFATAL\0C28000\0Mno pg_hba.conf entry for host, no encryption\0\0"
_REFUSAL = b"E" + struct.pack("!i", 4 + len(_REASON)) + _REASON


def make_certificate(directory: Path, host: str) -> Path:
    """Make a self-signed certificate and its key for a host; return the file of the certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = directory / f"{host}.pem"
    file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file.with_suffix(".key").write_bytes(pem)
    return file


class TlsHandler(StreamHandler):
    """One connection that the client encrypts; the upstream's is plain."""

    def client(self) -> socket.socket:
        """Accept PostgreSQL's request for TLS, and decrypt what follows; refuse a connection without it."""
        plain = super().client()
        if plain.recv(_STARTUP_BYTES) != _SSL_REQUEST:
            plain.sendall(_REFUSAL)
            raise ConnectionRefusedError
        plain.sendall(b"S")
        tls: _Tls = cast("Server", self.server).script()
        return tls.context.wrap_socket(plain, server_side=True)


@dataclass
class _Tls(Breaks):
    context: ssl.SSLContext = field(default_factory=lambda: ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))


@contextmanager
def tls_before(port: int, certificate: Path) -> Iterator[int]:
    """Answer PostgreSQL's request for TLS, pass on what is inside, and refuse everything else; yield the port."""
    tls = _Tls()
    tls.context.load_cert_chain(certificate, certificate.with_suffix(".key"))
    with running_server(TlsHandler, f"postgresql://127.0.0.1:{port}", lambda: tls) as server:
        yield server.port
