"""Access to AWS: botocore clients, and the transport of the clients that every batch uses (`data_plane`).

botocore resolves credentials, region, endpoint, proxies and certificates for both. Both emit its `before-send` event,
through which a tracer or an emulator can answer a request itself.
"""

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import NoCredentialsError
from botocore.handlers import add_recursion_detection_header
from botocore.httpsession import ProxyConfiguration, get_cert_path
from botocore.session import Session
from botocore.utils import get_environ_proxies
from urllib3 import PoolManager, Timeout, proxy_from_url
from urllib3.exceptions import HTTPError

# Raised by a request without a connection, or without a response in time. Sending it again may succeed.
NO_RESPONSE: Final = (HTTPError,)
MAX_CONCURRENT_REQUESTS: Final = 16  # 100 events take 14: 4 store their facts and 10 publish them
_CONNECT_SECONDS: Final = 1
_READ_SECONDS: Final = 3


def make_client(session: Session, service: str) -> Any:
    """Return a botocore client that does not retry and whose connects and reads have time limits.

    The limits hold per address and per read of the socket; the deadline ends the wait for a whole request.
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


class Response(NamedTuple):
    """A response of AWS, or of a proxy on the way."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Transport:
    """Sends signed (SigV4) POST requests to the endpoint of a botocore client, over its own connections."""

    client: Any
    credentials: Credentials | None
    http: PoolManager

    def post(self, operation: str, body: bytes, headers: Mapping[str, str]) -> Response:
        """Send a request and return the response, whatever its status.

        Raises:
            botocore.exceptions.NoCredentialsError: credentials are missing.
            NO_RESPONSE: AWS does not respond.

        """
        if self.credentials is None:
            raise NoCredentialsError
        meta = self.client.meta
        all_headers = {"User-Agent": "event-service", **headers}
        add_recursion_detection_header({"headers": all_headers})  # Lambda finds traces and endless loops by it
        request = AWSRequest("POST", meta.endpoint_url.rstrip("/") + "/", data=body, headers=all_headers)
        # Frozen: credentials that expire are refreshed here, all parts at once.
        credentials: Any = self.credentials.get_frozen_credentials()
        SigV4Auth(credentials, meta.service_model.signing_name, meta.region_name).add_auth(request)
        prepared = request.prepare()
        event = f"before-send.{meta.service_model.service_id.hyphenize()}.{operation}"
        _, answered = meta.events.emit_until_response(event, request=prepared)
        if answered is not None:
            return Response(answered.status_code, answered.headers, answered.content)
        response = self.http.urlopen(
            "POST", prepared.url, body=body, headers=dict(prepared.headers.items()), retries=False, redirect=False
        )
        return Response(response.status, response.headers, response.data)


def make_transport(session: Session, service: str) -> Transport:
    """Return a transport to a service, configured as a botocore client in this environment would be.

    Raises:
        botocore.exceptions.NoRegionError: no region is configured.

    """
    client = make_client(session, service)
    url = client.meta.endpoint_url
    options: dict[str, Any] = {
        "timeout": Timeout(connect=_CONNECT_SECONDS, read=_READ_SECONDS),
        "maxsize": MAX_CONCURRENT_REQUESTS,
        "ca_certs": get_cert_path(session.get_config_variable("ca_bundle") or True),
        "socket_options": [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1), (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)],
    }
    proxies = ProxyConfiguration(get_environ_proxies(url))
    if proxy := proxies.proxy_url_for(url):
        http: PoolManager = proxy_from_url(proxy, proxy_headers=proxies.proxy_headers_for(proxy), **options)
    else:
        http = PoolManager(**options)
    return Transport(client, session.get_credentials(), http)
