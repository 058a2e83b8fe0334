"""How AWS is reached: clients of botocore for what is rare, and endpoints for the lean clients (`lean_clients`).

Credentials, region, endpoints and signatures are botocore's in both, and so is the event `before-send`, by which others
(such as moto) take a request over.
"""

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.request import getproxies, proxy_bypass

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.configprovider import ConfiguredEndpointProvider
from botocore.credentials import Credentials
from botocore.exceptions import NoCredentialsError, NoRegionError
from botocore.httpsession import get_cert_path
from botocore.regions import EndpointResolver
from botocore.session import Session
from urllib3 import HTTPConnectionPool, PoolManager, ProxyManager, Timeout
from urllib3.connection import HTTPConnection
from urllib3.util import parse_url

MAX_CONCURRENT_REQUESTS: Final = 16  # what 100 events take: 4 to store their facts and 10 to publish them
_CONNECT_SECONDS: Final = 1
_READ_SECONDS: Final = 3


def make_client(session: Session, service: str) -> Any:
    """Return a client of botocore that does not retry and whose connects and reads have limits.

    They hold per address and per read of the socket; what ends the wait for a request is the deadline.
    """
    return session.create_client(
        service,
        config=Config(
            connect_timeout=_CONNECT_SECONDS,
            read_timeout=_READ_SECONDS,
            retries={"total_max_attempts": 1},
            max_pool_connections=MAX_CONCURRENT_REQUESTS,
            tcp_keepalive=True,
        ),
    )


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An AWS service's URL, with credentials and connection pool; sends signed (SigV4) POST requests."""

    service: str
    region: str
    url: str
    credentials: Credentials | None
    connections: HTTPConnectionPool
    session: Session

    def post(self, operation: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, bytes]:
        """Send a request and return status and body of its answer.

        Raises:
            botocore.exceptions.NoCredentialsError: there are none.
            urllib3.exceptions.HTTPError: there is no connection, or no answer in time.

        """
        if self.credentials is None:
            raise NoCredentialsError
        request = AWSRequest("POST", self.url, data=body, headers={"User-Agent": "event-service", **headers})
        if trace := os.environ.get("_X_AMZN_TRACE_ID"):  # Lambda finds traces, and endless loops, by it
            request.headers["X-Amzn-Trace-Id"] = trace
        SigV4Auth(self.credentials.get_frozen_credentials(), self.service, self.region).add_auth(request)
        prepared = request.prepare()
        event = f"before-send.{self.service}.{operation}"
        taken_over = self.session.emit_first_non_none_response(event, request=prepared)
        if taken_over is not None:
            return taken_over.status_code, taken_over.content
        answer = self.connections.urlopen("POST", prepared.url, body=body, headers=dict(prepared.headers.items()))
        return answer.status, answer.data


def make_endpoint(session: Session, service: str) -> Endpoint:
    """Return the endpoint of a service that the environment and the configuration files say.

    Raises:
        botocore.exceptions.NoRegionError: they name no region.

    """
    region = session.get_config_variable("region")
    if region is None:
        raise NoRegionError
    url = _configured_url(session, service) or _default_url(session, service, region)
    return Endpoint(
        service=service,
        region=region,
        url=url.rstrip("/") + "/",
        credentials=session.get_credentials(),
        connections=_connections(session, url),
        session=session,
    )


def _configured_url(session: Session, service: str) -> str | None:
    if session.get_config_variable("ignore_configured_endpoint_urls"):
        return None
    provider = ConfiguredEndpointProvider(session.full_config, session.get_scoped_config(), service)
    url: str | None = provider.provide()
    return url


def _default_url(session: Session, service: str, region: str) -> str:
    endpoint = EndpointResolver(session.get_data("endpoints")).construct_endpoint(
        service,
        region,
        use_dualstack_endpoint=bool(session.get_config_variable("use_dualstack_endpoint")),
        use_fips_endpoint=bool(session.get_config_variable("use_fips_endpoint")),
    )
    return "https://" + (endpoint["hostname"] if endpoint else f"{service}.{region}.amazonaws.com")


def _connections(session: Session, url: str) -> HTTPConnectionPool:
    options: dict[str, Any] = {
        "maxsize": MAX_CONCURRENT_REQUESTS,
        "timeout": Timeout(connect=_CONNECT_SECONDS, read=_READ_SECONDS),
        "retries": False,
        "cert_reqs": "CERT_REQUIRED",
        "ca_certs": session.get_config_variable("ca_bundle") or get_cert_path(verify=True),
        "socket_options": [*HTTPConnection.default_socket_options, (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)],
    }
    parsed = parse_url(url)
    proxy = None if proxy_bypass(parsed.host or "") else getproxies().get(parsed.scheme or "")
    manager = ProxyManager(proxy, **options) if proxy else PoolManager(**options)
    return manager.connection_from_url(url)
