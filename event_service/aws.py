"""How AWS is reached: clients of botocore for what is rare, and lean ones for what every batch does.

A client of botocore takes every request through generic models, to validate, serialise and parse it, and that was most
of the CPU time of a batch. The lean ones know four operations. Credentials, region, endpoints and signatures are
botocore's here too, and so is the event `before-send`, by which others (such as moto) take a request over.
"""

import json
import os
import socket
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote_plus
from urllib.request import getproxies, proxy_bypass
from xml.etree import ElementTree as ET

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.configprovider import ConfiguredEndpointProvider
from botocore.credentials import Credentials
from botocore.exceptions import ClientError, NoCredentialsError, NoRegionError
from botocore.httpsession import get_cert_path
from botocore.regions import EndpointResolver
from botocore.session import Session
from urllib3 import HTTPConnectionPool, PoolManager, ProxyManager, Timeout
from urllib3.connection import HTTPConnection
from urllib3.util import parse_url

MAX_CONCURRENT_REQUESTS: Final = 16  # what 100 events take: 4 to store their facts and 10 to publish them
_CONNECT_SECONDS: Final = 1
_READ_SECONDS: Final = 3
_OK: Final = 200

# What application/x-www-form-urlencoded has for each byte: https://url.spec.whatwg.org/#urlencoded-serializing
_FORM_CODES: Final = {byte: quote_plus(bytes([byte])) for byte in range(256)}


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
    """Where a service is, and all it takes to send it signed requests."""

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


@dataclass(frozen=True, slots=True)
class DynamoDb:
    """The operations of DynamoDB that many events go through, each taking and answering what botocore's does.

    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.LowLevelAPI.html
    """

    endpoint: Endpoint

    def batch_execute_statement(self, **request: Any) -> Any:
        """Execute up to 25 PartiQL statements, each for itself."""
        return self._call("BatchExecuteStatement", request)

    def batch_get_item(self, **request: Any) -> Any:
        """Read up to 100 items."""
        return self._call("BatchGetItem", request)

    def scan(self, **request: Any) -> Any:
        """Read up to 1 MB of a table."""
        return self._call("Scan", request)

    def _call(self, operation: str, request: Any) -> Any:
        headers = {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": f"DynamoDB_20120810.{operation}"}
        status, body = self.endpoint.post(operation, _encode_json(request).encode(), headers)
        if status == _OK:
            return json.loads(body, object_hook=_with_bytes)
        try:
            code = json.loads(body)["__type"].rpartition("#")[2]
        except (ValueError, KeyError, AttributeError, TypeError):
            code = ""  # some other server's answer, between here and there
        raise _refusal(operation, status, code)


@dataclass(frozen=True, slots=True)
class Sns:
    """The operation of SNS that facts are published with, taking and answering what botocore's does.

    https://docs.aws.amazon.com/sns/latest/api/API_PublishBatch.html
    """

    endpoint: Endpoint

    def publish_batch(self, *, TopicArn: str, PublishBatchRequestEntries: Sequence[Mapping[str, Any]]) -> Any:  # noqa: N803
        """Publish up to 10 messages with String attributes."""
        fields = [("Action", "PublishBatch"), ("Version", "2010-03-31"), ("TopicArn", TopicArn)]
        for number, entry in enumerate(PublishBatchRequestEntries, 1):
            member = f"PublishBatchRequestEntries.member.{number}"
            fields += [(f"{member}.Id", entry["Id"]), (f"{member}.Message", entry["Message"])]
            for index, (name, value) in enumerate(entry["MessageAttributes"].items(), 1):
                attribute = f"{member}.MessageAttributes.entry.{index}"
                fields += [(f"{attribute}.Name", name), (f"{attribute}.Value.DataType", value["DataType"])]
                fields += [(f"{attribute}.Value.StringValue", value["StringValue"])]
        headers = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
        status, body = self.endpoint.post("PublishBatch", encode_form(fields), headers)
        try:
            answer = ET.fromstring(body)  # noqa: S314  # from AWS, over TLS
        except ET.ParseError as exc:
            if status == _OK:
                raise ValueError("SNS answered something else than XML") from exc
            raise _refusal("PublishBatch", status, "") from exc
        if status != _OK:
            raise _refusal("PublishBatch", status, answer.findtext(".//{*}Code") or "")
        return {"Successful": _members(answer, "Successful"), "Failed": _members(answer, "Failed")}


def encode_form(fields: Iterable[tuple[str, str]]) -> bytes:
    """Encode a form in UTF-8: what `urllib.parse.urlencode` does character by character, much faster."""
    return "&".join([f"{_encode(name)}={_encode(value)}" for name, value in fields]).encode()


def _encode(text: str) -> str:
    return text.encode().decode("latin-1").translate(_FORM_CODES)


def _members(answer: ET.Element, name: str) -> list[dict[str, Any]]:
    members = [
        {field.tag.rpartition("}")[2]: field.text or "" for field in member}
        for member in answer.iterfind(f"{{*}}PublishBatchResult/{{*}}{name}/{{*}}member")
    ]
    return [member | {"SenderFault": member.get("SenderFault") == "true"} for member in members]


def _base64(value: bytes) -> str:
    return b64encode(value).decode()


_encode_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=_base64).encode


def _with_bytes(value: dict[str, Any]) -> dict[str, Any]:
    """Decode a binary attribute value."""
    return {"B": b64decode(value["B"])} if isinstance(value.get("B"), str) else value


def _refusal(operation: str, status: int, code: str) -> ClientError:
    response: Any = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(response, operation)
