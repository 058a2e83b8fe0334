"""The read API of a stack on AWS, opened on a person's own machine."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import botocore.session
import pytest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from event_service.api.__main__ import main
from event_service.api.routes import lambda_handler
from event_service.api.serving import served
from event_service.api.signing import signed_requests
from event_service.cli import reason_of
from local.stack import REGION, Stack, free_port
from tests.integration.adapters.test_event_history import EXACT, event, store
from tests.support.aws import make_aws
from tests.support.gateway import Gateway, running_gateway

MANUAL = Path(__file__).parents[2] / "docs" / "api.md"
ITEM = "a/b %+ü"
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
    "AWS_SESSION_TOKEN": "a/token+of=ours==",
}


@pytest.fixture(scope="module")
def running(stack: Stack) -> Iterator[Gateway]:
    """The API on AWS, with two events; the credentials that it accepts are in the environment."""
    aws = make_aws(stack)
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(2) as pool:
        for name, value in {**CREDENTIALS, "EVENT_STORE_TABLE": aws.table}.items():
            patch.setenv(name, value)
        store(aws, pool, event(10, item_id=ITEM, data=EXACT), event(10, item_id="42"))
        with running_gateway(lambda_handler, Credentials(*CREDENTIALS.values()), REGION) as gateway:
            yield gateway


@pytest.fixture
def gateway(running: Gateway) -> Gateway:
    """The same, without what earlier tests sent."""
    running.targets.clear()
    running.refusal = None
    return running


@pytest.fixture(scope="module")
def opened(running: Gateway) -> Iterator[str]:
    with served(signed_requests(botocore.session.get_session(), running.url), port=0) as address:
        yield address


@pytest.fixture
def address(gateway: Gateway, opened: str) -> str:
    """The address that a person opens."""
    return opened


def get(url: str, method: str = "GET", **headers: str) -> tuple[int, str | None, str]:
    """The status, the content type and the body of a response."""
    parts = urlsplit(url)
    connection = HTTPConnection(str(parts.hostname), parts.port, timeout=30)
    with closing(connection):
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, parts._replace(scheme="", netloc="").geturl(), headers=named)
        response = connection.getresponse()
        return response.status, response.headers["Content-Type"], response.read().decode()


def problem(address: str) -> Any:
    status, kind, body = get(f"{address}/event-types")
    assert kind == "application/problem+json"
    assert json.loads(body)["status"] == status
    return json.loads(body)


@pytest.mark.parametrize("query", ["", "?from=2026-11-23T06:00:00Z&to=2026-11-24T00:00:00%2B01:00", "?limit=1&cursor="])
def test_a_request_is_signed_whatever_is_in_it(address: str, query: str) -> None:
    """The gateway computes the same signature from what it receives; the stage is added to the path."""
    status, _, body = get(f"{address}/items/reminder/{quote(ITEM, safe='')}/events{query}")
    if query.endswith("cursor="):
        assert (status, json.loads(body)["errors"][0]["field"]) == (400, "cursor")
    else:
        assert (status, json.loads(body)["events"][0]["itemId"]) == (200, ITEM)
        assert f'"eventData":{EXACT}' in body


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Powertools leaves files open
def test_the_page_sends_its_requests_to_this_machine(address: str, gateway: Gateway) -> None:
    """Not to the stack: the browser could not sign them."""
    status, kind, page = get(f"{address}/docs")
    assert (status, kind) == (200, "text/html")
    assert gateway.url not in page
    assert [server["url"] for server in json.loads(get(f"{address}/docs?format=json")[2])["servers"]] == ["."]
    assert gateway.targets == ["/v1/docs", "/v1/docs?format=json"]


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "rebound.example.com:3000"},
        {"Host": ""},
        {"Origin": "https://example.com"},
        {"Origin": "null"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
    ],
)
def test_another_page_of_the_browser_gets_nothing(address: str, gateway: Gateway, headers: dict[str, str]) -> None:
    """Its request is refused before it is signed."""
    assert get(f"{address}/event-types", **headers)[0] == 403
    assert gateway.targets == []


def test_the_page_itself_may_ask(address: str) -> None:
    """As a browser marks its requests, and under either name of this machine."""
    assert get(f"{address}/event-types", Sec_Fetch_Site="same-origin", Origin=address)[0] == 200
    assert get(address.replace("localhost", "127.0.0.1") + "/event-types")[0] == 200


@pytest.mark.parametrize("method", ["POST", "HEAD", "OPTIONS"])
def test_nothing_but_get_is_passed_on(address: str, gateway: Gateway, method: str) -> None:
    assert get(f"{address}/event-types", method)[0] == 501
    assert gateway.targets == []


def test_what_aws_refuses_is_shown_with_its_reason(address: str, gateway: Gateway) -> None:
    """And with what is needed."""
    gateway.refusal = "The security token included in the request is expired"
    found = problem(address)
    assert (found["status"], found["title"]) == (403, "Forbidden")
    assert "request is expired. If your credentials have expired, renew" in found["detail"]
    assert "execute-api:Invoke" in found["detail"]


def test_an_unsigned_request_is_refused_by_aws(gateway: Gateway) -> None:
    """And one whose signature is for something else."""
    assert get(f"{gateway.url}/event-types")[0] == 403
    signed = f"AWS4-HMAC-SHA256 Credential=x, SignedHeaders=host;x-amz-date, Signature={'0' * 64}"
    token = CREDENTIALS["AWS_SESSION_TOKEN"]
    headers = {"Authorization": signed, "X_Amz_Date": "20261123T000000Z", "X_Amz_Security_Token": token}
    assert "does not match" in get(f"{gateway.url}/event-types", **headers)[2]


def test_missing_credentials_are_shown(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the reason that botocore gives."""
    for name in CREDENTIALS:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    with served(signed_requests(botocore.session.get_session(), gateway.url), port=0) as address:
        found = problem(address)
    assert (found["status"], found["detail"]) == (502, "Unable to locate credentials")


def test_an_api_that_does_not_respond_is_shown(gateway: Gateway) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}/v1"
    with served(signed_requests(botocore.session.get_session(), nowhere), port=0) as address:
        found = problem(address)
    assert found["status"] == 502
    assert "Could not connect" in found["detail"]


@pytest.fixture
def stack_name(stack: Stack, gateway: Gateway) -> str:
    """A stack with the output of the template."""
    name = f"api-{uuid.uuid4().hex}"
    template = {
        "Resources": {"Topic": {"Type": "AWS::SNS::Topic"}},
        "Outputs": {"ReadApiUrl": {"Value": gateway.url}},
    }
    stack.client("cloudformation").create_stack(StackName=name, TemplateBody=json.dumps(template))
    return name


def test_the_command_serves_until_it_is_interrupted(stack_name: str) -> None:
    command = [sys.executable, "-m", "event_service.api", "--stack", stack_name, "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=dict(os.environ)) as process:
        assert process.stdout is not None
        address = re.search(r"http://localhost:\d+", process.stdout.readline())
        try:
            assert address is not None
            assert get(f"{address[0]}/event-types")[0] == 200
        finally:
            process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0


def test_a_stack_or_an_output_that_does_not_exist_is_named(
    stack: Stack, gateway: Gateway, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--stack", "nowhere"]) == 2
    assert capsys.readouterr().err == f"api: there is no stack nowhere in {REGION}\n"
    name = f"other-{uuid.uuid4().hex}"
    template = {"Resources": {"Topic": {"Type": "AWS::SNS::Topic"}}}
    stack.client("cloudformation").create_stack(StackName=name, TemplateBody=json.dumps(template))
    assert main(["--stack", name]) == 2
    assert capsys.readouterr().err == f"api: the stack {name} has no output ReadApiUrl\n"


def test_credentials_that_have_expired_are_to_be_renewed() -> None:
    """As AWS answers the first request."""
    error = ClientError({"Error": {"Code": "ExpiredToken", "Message": "of alice"}}, "DescribeStacks")
    assert reason_of(error) == "DescribeStacks: ExpiredToken: renew your AWS credentials"


@pytest.mark.skipif(not (shutil.which("curl") and shutil.which("bash")), reason="curl or bash is not installed")
def test_the_manuals_curl_command_is_accepted(gateway: Gateway) -> None:
    """As it is written there."""
    (command,) = re.findall(r"```sh\n(curl .*?)```", MANUAL.read_text(), re.DOTALL)
    environment = os.environ | {"READ_API_URL": gateway.url, "AWS_REGION": REGION}
    result = subprocess.run(
        [str(shutil.which("bash")), "-c", command], capture_output=True, text=True, check=False, env=environment
    )
    assert [target.partition("?")[0] for target in gateway.targets] == ["/v1/items/reminder/42/events"], result.stderr
    assert json.loads(result.stdout)["events"][0]["itemId"] == "42"
