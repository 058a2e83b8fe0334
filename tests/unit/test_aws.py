import json
import ssl
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any, ClassVar
from urllib.parse import parse_qsl, urlencode

import botocore.session
import pytest
from botocore.awsrequest import AWSPreparedRequest
from botocore.exceptions import ClientError, NoCredentialsError, NoRegionError
from botocore.serialize import create_serializer
from botocore.session import Session
from hypothesis import given
from hypothesis import strategies as st

from event_service.adapters.aws import NO_RESPONSE, Transport, make_transport
from event_service.adapters.data_plane import DynamoDb, Sns, encode_form
from tests.support.proxies.tls import make_certificate

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
ENTRY = {"Id": "0", "Message": "{}", "MessageAttributes": {"a": {"DataType": "String", "StringValue": "b"}}}
PUBLISHED = b"""<PublishBatchResponse xmlns="http://sns.amazonaws.com/doc/2010-03-31/"><PublishBatchResult>
  <Successful><member><Id>0</Id><MessageId>m</MessageId></member></Successful>
  <Failed><member><Id>1</Id><Code>InternalError</Code><SenderFault>false</SenderFault></member></Failed>
</PublishBatchResult></PublishBatchResponse>"""


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> Session:
    """A session of an account in one region, with nothing else configured."""
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_SNS", "AWS_PROFILE", "AWS_SESSION_TOKEN", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    return botocore.session.get_session()


class Answering:
    """Answers every request of a session in place of AWS, and keeps the last one."""

    request: AWSPreparedRequest

    def __init__(self, session: Session, status: int, body: bytes) -> None:
        self.response = SimpleNamespace(status_code=status, headers={}, content=body)
        session.register("before-send", self._answer)

    def _answer(self, **event: Any) -> Any:
        self.request = event["request"]
        return self.response


def dynamodb(session: Session) -> DynamoDb:
    return DynamoDb(make_transport(session, "dynamodb"))


def sns(session: Session) -> Sns:
    return Sns(make_transport(session, "sns"))


@given(st.lists(st.tuples(TEXT, TEXT)))
def test_a_form_is_encoded_as_the_standard_library_does(fields: list[tuple[str, str]]) -> None:
    """Only faster."""
    assert encode_form(fields) == urlencode(fields).encode()


@pytest.mark.parametrize(
    ("variables", "url"),
    [
        ({}, "https://sns.eu-central-1.amazonaws.com/"),
        ({"AWS_DEFAULT_REGION": "cn-north-1"}, "https://sns.cn-north-1.amazonaws.com.cn/"),
        (
            {"AWS_DEFAULT_REGION": "us-east-1", "AWS_USE_FIPS_ENDPOINT": "true"},
            "https://sns-fips.us-east-1.amazonaws.com/",
        ),
        ({"AWS_ENDPOINT_URL": "http://localhost:4566"}, "http://localhost:4566/"),
        ({"AWS_ENDPOINT_URL": "http://a", "AWS_ENDPOINT_URL_SNS": "http://b/path/"}, "http://b/path/"),
        (
            {"AWS_ENDPOINT_URL": "http://a", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"},
            "https://sns.eu-central-1.amazonaws.com/",
        ),
    ],
)
def test_requests_go_to_the_configured_endpoint(
    session: Session, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], url: str
) -> None:
    """The environment configures it as for every botocore client."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    aws = Answering(session, 200, PUBLISHED)
    sns(session).publish_batch(TopicArn="t", PublishBatchRequestEntries=[ENTRY])
    assert aws.request.url == url


def test_without_a_region_the_start_fails(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a region, no endpoint is known."""
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    with pytest.raises(NoRegionError):
        make_transport(session, "sns")


def test_without_credentials_a_request_fails(session: Session) -> None:
    """As with a botocore client, not before."""
    client = make_transport(session, "dynamodb").client
    with pytest.raises(NoCredentialsError):
        DynamoDb(Transport(client, None, make_transport(session, "dynamodb").http)).scan(TableName="t")


class Server(BaseHTTPRequestHandler):
    """An HTTP server, or proxy, that answers `{}` and keeps the targets of the requests."""

    targets: ClassVar[list[str]] = []
    proxy_authorization: ClassVar[list[str | None]] = []

    def do_POST(self) -> None:
        self.targets.append(self.path)
        self.proxy_authorization.append(self.headers["Proxy-Authorization"])
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: Any) -> None:
        """Print nothing."""


@pytest.fixture
def server() -> Iterator[str]:
    """The address of a running server."""
    Server.targets.clear()
    Server.proxy_authorization.clear()
    with HTTPServer(("127.0.0.1", 0), Server) as running:
        Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


@pytest.mark.parametrize(
    ("variables", "target"),
    [
        (lambda server: {"AWS_ENDPOINT_URL": server}, "/"),
        (
            lambda server: {"AWS_ENDPOINT_URL": "http://aws.invalid", "http_proxy": server, "no_proxy": ""},
            "http://aws.invalid/",
        ),
        (lambda server: {"AWS_ENDPOINT_URL": server, "http_proxy": "http://x.invalid", "no_proxy": "127.0.0.1"}, "/"),
    ],
    ids=["direct", "proxy", "no proxy"],
)
def test_a_proxy_is_used_where_one_is_configured(
    session: Session,
    monkeypatch: pytest.MonkeyPatch,
    server: str,
    variables: Callable[[str], dict[str, str]],
    target: str,
) -> None:
    """The customary variables name it, and the hosts to reach without it."""
    for name, value in variables(server).items():
        monkeypatch.setenv(name, value)
    assert dynamodb(session).scan(TableName="t") == {}
    assert Server.targets == [target]


def test_a_proxy_gets_the_credentials_in_its_address(
    session: Session, monkeypatch: pytest.MonkeyPatch, server: str
) -> None:
    """They are a header of the request, and are not sent without a proxy."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", server)
    dynamodb(session).scan(TableName="t")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://aws.invalid")
    monkeypatch.setenv("http_proxy", server.replace("http://", "http://me:secret@"))
    monkeypatch.setenv("no_proxy", "")
    dynamodb(session).scan(TableName="t")
    assert Server.proxy_authorization == [None, "Basic bWU6c2VjcmV0"]


def test_the_server_has_to_have_a_certificate_that_is_trusted(
    session: Session, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """By the authorities of AWS_CA_BUNDLE, or by the usual ones."""
    certificate = make_certificate(tmp_path, "localhost")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, certificate.with_suffix(".key"))
    with HTTPServer(("127.0.0.1", 0), Server) as running:
        running.socket = tls.wrap_socket(running.socket, server_side=True)
        running.handle_error = lambda *_: None  # type: ignore[method-assign]  # the handshake that the client breaks off
        Thread(target=running.serve_forever, daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"https://localhost:{running.server_port}")
        with pytest.raises(NO_RESPONSE, match="CERTIFICATE_VERIFY_FAILED"):
            dynamodb(session).scan(TableName="t")
        session.set_config_variable("ca_bundle", str(certificate))
        assert dynamodb(session).scan(TableName="t") == {}
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"https://127.0.0.1:{running.server_port}")
        with pytest.raises(NO_RESPONSE, match="IP address mismatch"):
            dynamodb(session).scan(TableName="t")
        running.shutdown()


def test_a_connection_that_fails_is_no_response(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """Callers tell by its type that another attempt may succeed."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(NO_RESPONSE):
        dynamodb(session).scan(TableName="t")


def test_a_request_is_signed_and_carries_the_trace(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lambda recognises endless loops by the trace."""
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "event-service")
    monkeypatch.setenv("_X_AMZN_TRACE_ID", "Root=1-2-3")
    aws = Answering(session, 200, b'{"Responses": []}')
    dynamodb(session).batch_execute_statement(Statements=[])
    headers = aws.request.headers
    assert headers["Authorization"].startswith("AWS4-HMAC-SHA256 Credential=key/")
    assert "/eu-central-1/dynamodb/aws4_request" in headers["Authorization"]
    assert headers["X-Amzn-Trace-Id"] == "Root=1-2-3"
    assert headers["X-Amz-Target"] == "DynamoDB_20120810.BatchExecuteStatement"


def test_expired_credentials_are_refreshed_before_a_request(session: Session, tmp_path: Any) -> None:
    """As botocore does it: here by the `credential_process` of a profile."""
    count = tmp_path / "count"
    script = tmp_path / "credentials.py"
    script.write_text(
        "import datetime, json, pathlib\n"
        f"count = pathlib.Path({str(count)!r})\n"
        "number = int(count.read_text()) + 1 if count.exists() else 1\n"
        "count.write_text(str(number))\n"
        "soon = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=5)\n"
        "print(json.dumps({'Version': 1, 'AccessKeyId': f'key-{number}', 'SecretAccessKey': 's',"
        " 'SessionToken': 't', 'Expiration': soon.isoformat()}))\n"
    )
    (tmp_path / "config").write_text(f"[profile p]\ncredential_process = python3 {script}\n")
    session.set_config_variable("config_file", str(tmp_path / "config"))
    session.set_config_variable("profile", "p")
    aws = Answering(session, 200, b"{}")
    client = dynamodb(session)
    keys = []
    for _ in range(2):
        client.scan(TableName="t")
        keys.append(str(aws.request.headers["Authorization"]).partition("Credential=")[2].partition("/")[0])
    assert keys[0] != keys[1]


@pytest.mark.parametrize("name", ["B", "data"])
def test_binary_values_are_sent_and_read_as_base64(session: Session, name: str) -> None:
    """The name of the attribute does not matter."""
    answer = {"Responses": {"t": [{name: {"B": "AAE="}, "s": {"S": "x"}}]}}
    aws = Answering(session, 200, json.dumps(answer).encode())
    read = dynamodb(session).batch_get_item(RequestItems={"t": {"Keys": [{"k": {"B": b"\x02"}}]}})
    assert read == {"Responses": {"t": [{name: {"B": b"\x00\x01"}, "s": {"S": "x"}}]}}
    assert isinstance(aws.request.body, bytes)
    assert b'{"B":"Ag=="}' in aws.request.body


def test_messages_are_sent_as_a_form_and_their_outcomes_read(session: Session) -> None:
    """Member by member, as the query protocol numbers them."""
    aws = Answering(session, 200, PUBLISHED)
    answer = sns(session).publish_batch(TopicArn="t", PublishBatchRequestEntries=[ENTRY])
    assert answer["Successful"] == [{"Id": "0", "MessageId": "m"}]
    assert answer["Failed"] == [{"Id": "1", "Code": "InternalError", "SenderFault": False}]
    assert isinstance(aws.request.body, bytes)
    member = "PublishBatchRequestEntries.member.1"
    assert dict(parse_qsl(aws.request.body.decode())) == {
        "Action": "PublishBatch",
        "Version": "2010-03-31",
        "TopicArn": "t",
        f"{member}.Id": "0",
        f"{member}.Message": "{}",
        f"{member}.MessageAttributes.entry.1.Name": "a",
        f"{member}.MessageAttributes.entry.1.Value.DataType": "String",
        f"{member}.MessageAttributes.entry.1.Value.StringValue": "b",
    }


def test_the_form_of_messages_is_what_botocore_sends(session: Session) -> None:
    """Texts and binary attributes, several messages, and one without attributes."""
    aws = Answering(session, 200, PUBLISHED)
    attributes = {
        "text": {"DataType": "String", "StringValue": "ä&=+ %"},
        "bytes": {"DataType": "Binary", "BinaryValue": b"\x00\xff"},
    }
    request: dict[str, Any] = {
        "TopicArn": "arn:aws:sns:eu-central-1:1:t",
        "PublishBatchRequestEntries": [
            {"Id": "0", "Message": "{}", "MessageAttributes": attributes},
            {"Id": "1", "Message": "\n", "MessageAttributes": {}},
        ],
    }
    client = sns(session)
    client.publish_batch(**request)
    operation = client.transport.client.meta.service_model.operation_model("PublishBatch")
    expected = create_serializer("query").serialize_to_request(request, operation)["body"]
    assert isinstance(aws.request.body, bytes)
    assert dict(parse_qsl(aws.request.body.decode(), strict_parsing=True)) == expected


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (400, b'{"__type":"com.amazonaws.dynamodb.v20120810#ThrottlingException"}', "ThrottlingException"),
        (502, b"<html>", "502"),
        (502, b"\xff", "502"),
        (500, b"[]", "500"),
    ],
)
def test_a_refusal_of_dynamodb_has_its_code(session: Session, status: int, body: bytes, code: str) -> None:
    """The response of another server on the way has only its status."""
    Answering(session, status, body)
    with pytest.raises(ClientError) as caught:
        dynamodb(session).batch_get_item(RequestItems={})
    assert caught.value.response["Error"]["Code"] == code
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == status


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (
            403,
            b'<ErrorResponse xmlns="x"><Error><Code>AuthorizationError</Code></Error></ErrorResponse>',
            "AuthorizationError",
        ),
        (502, b"bad gateway", "502"),
    ],
)
def test_a_refusal_of_sns_has_its_code(session: Session, status: int, body: bytes, code: str) -> None:
    """The response of another server on the way has only its status."""
    Answering(session, status, body)
    with pytest.raises(ClientError) as caught:
        sns(session).publish_batch(TopicArn="t", PublishBatchRequestEntries=[ENTRY])
    assert caught.value.response["Error"]["Code"] == code
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == status


@pytest.mark.parametrize("body", [b"", b"not XML", b"<html/>"])
def test_a_success_that_cannot_be_read_is_an_error(session: Session, body: bytes) -> None:
    """It does not say which messages were accepted."""
    Answering(session, 200, body)
    with pytest.raises(ValueError, match="PublishBatch"):
        sns(session).publish_batch(TopicArn="t", PublishBatchRequestEntries=[ENTRY])
