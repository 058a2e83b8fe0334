import json
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode

import botocore.session
import pytest
from botocore.exceptions import ClientError, NoRegionError
from botocore.session import Session
from hypothesis import given
from hypothesis import strategies as st
from urllib3 import ProxyManager

from event_service.adapters.aws import Endpoint, make_endpoint
from event_service.adapters.lean_clients import DynamoDb, Sns, encode_form

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
ENTRY = {"Id": "0", "Message": "{}", "MessageAttributes": {"a": {"DataType": "String", "StringValue": "b"}}}


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> Session:
    """A session of an account in one region, with nothing else configured."""
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_SNS", "AWS_PROFILE", "AWS_SESSION_TOKEN", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    return botocore.session.get_session()


class Connections:
    """Answers every request with the same, and keeps what was sent."""

    def __init__(self, status: int, body: bytes) -> None:
        self.answer = SimpleNamespace(status=status, data=body)
        self.headers: dict[str, str] = {}

    def urlopen(self, _method: str, _url: str, *, body: bytes, headers: dict[str, str]) -> Any:
        self.body, self.headers = body, headers
        return self.answer


def endpoint(session: Session, connections: Any) -> Endpoint:
    return Endpoint("sns", "eu-central-1", "https://sns.invalid/", session.get_credentials(), connections, session)


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
def test_the_endpoint_is_the_one_that_the_environment_says(
    session: Session, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], url: str
) -> None:
    """As for every client of botocore."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert make_endpoint(session, "sns").url == url


def test_without_a_region_the_start_fails(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody could tell where to send to."""
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    with pytest.raises(NoRegionError):
        make_endpoint(session, "sns")


def test_a_proxy_is_used_where_one_is_configured(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the variables that everybody uses for it."""
    monkeypatch.setenv("https_proxy", "http://proxy.invalid:3128")
    connections = make_endpoint(session, "sns").connections
    assert connections.proxy is not None
    assert connections.proxy.host == "proxy.invalid"
    assert ProxyManager("http://proxy.invalid:3128").proxy == connections.proxy


def test_a_request_is_signed_and_carries_the_trace(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lambda recognises endless loops by it."""
    monkeypatch.setenv("_X_AMZN_TRACE_ID", "Root=1-2-3")
    connections = Connections(200, b'{"Responses": []}')
    DynamoDb(endpoint(session, connections)).batch_execute_statement(Statements=[])
    assert connections.headers["Authorization"].startswith("AWS4-HMAC-SHA256 Credential=key/")
    assert connections.headers["X-Amzn-Trace-Id"] == "Root=1-2-3"
    assert connections.headers["X-Amz-Target"] == "DynamoDB_20120810.BatchExecuteStatement"


@pytest.mark.parametrize("name", ["B", "data"])
def test_binary_values_are_sent_and_read_as_base64(session: Session, name: str) -> None:
    """Whatever the attribute is called."""
    answer = {"Responses": {"t": [{name: {"B": "AAE="}, "s": {"S": "x"}}]}}
    connections = Connections(200, json.dumps(answer).encode())
    read = DynamoDb(endpoint(session, connections)).batch_get_item(
        RequestItems={"t": {"Keys": [{"k": {"B": b"\x02"}}]}}
    )
    assert read == {"Responses": {"t": [{name: {"B": b"\x00\x01"}, "s": {"S": "x"}}]}}
    assert b'{"B":"Ag=="}' in connections.body


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (400, b'{"__type":"com.amazonaws.dynamodb.v20120810#ThrottlingException"}', "ThrottlingException"),
        (502, b"<html>", ""),
        (500, b"[]", ""),
    ],
)
def test_a_refusal_of_dynamodb_has_its_code(session: Session, status: int, body: bytes, code: str) -> None:
    """An answer of some other server on the way has none."""
    with pytest.raises(ClientError) as caught:
        DynamoDb(endpoint(session, Connections(status, body))).batch_get_item(RequestItems={})
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
        (502, b"bad gateway", ""),
    ],
)
def test_a_refusal_of_sns_has_its_code(session: Session, status: int, body: bytes, code: str) -> None:
    """In whatever namespace the answer is."""
    with pytest.raises(ClientError) as caught:
        Sns(endpoint(session, Connections(status, body))).publish_batch(
            TopicArn="t", PublishBatchRequestEntries=[ENTRY]
        )
    assert caught.value.response["Error"]["Code"] == code


@pytest.mark.parametrize("body", [b"", b"not XML"])
def test_an_unreadable_success_response_is_an_error(session: Session, body: bytes) -> None:
    """Nobody knows what was accepted."""
    with pytest.raises(ValueError, match="XML"):
        Sns(endpoint(session, Connections(200, body))).publish_batch(TopicArn="t", PublishBatchRequestEntries=[ENTRY])
