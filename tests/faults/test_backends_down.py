import json
import socket
import time
from collections.abc import Callable, Iterator

import pytest

from event_service.handler import lambda_handler
from local.stack import free_port
from tests.support.aws import Aws, published
from tests.support.messages import CREATED, legacy, raw, reminder_data
from tests.support.tables import count_notifications, outbox

Handle = Callable[..., dict[str, str]]
Environment = dict[str, str]
PATIENCE = 30.0  # seconds, more than a busy machine needs for a batch that succeeds


class Context:
    """An invocation that began just now."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def get_remaining_time_in_millis(self) -> int:
        return int((self._end - time.monotonic()) * 1000)


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A server that accepts connections and never answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(64)
        yield server.getsockname()[1]


@pytest.fixture
def handle(service_environment: Environment, capsys: pytest.CaptureFixture[str]) -> Handle:
    """Deliver a reminder, a deletion of another and two events that are only stored; return which failed and why."""

    def deliver(seconds: float = 3) -> dict[str, str]:
        records = [
            raw(legacy(eventData=reminder_data(id="one"), itemId="one"), CREATED) | {"messageId": "created"},
            raw(legacy(itemId="two"), "reminder:deleted") | {"messageId": "deleted"},
            raw(legacy(itemId="three"), "order:placed") | {"messageId": "stored only 1"},
            raw(legacy(itemId="four"), "order:placed") | {"messageId": "stored only 2"},
        ]
        capsys.readouterr()
        answer = lambda_handler({"Records": records}, Context(seconds))
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        reasons = {line["message_id"]: line["reason"] for line in lines if line.get("message") == "record failed"}
        assert [failure["itemIdentifier"] for failure in answer["batchItemFailures"]] == [*reasons]
        return reasons

    return deliver


def stored(aws: Aws) -> int:
    return aws.dynamodb.scan(TableName=aws.table)["Count"]


def facts(aws: Aws) -> list[str]:
    return [fact["eventType"] for fact in published(aws)]


def change(monkeypatch: pytest.MonkeyPatch, **variables: str) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def test_without_postgresql_what_is_only_stored_succeeds(
    handle: Handle, aws: Aws, service_environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Events that must be applied come back, and are applied then."""
    change(monkeypatch, DATABASE_URL=f"postgresql://nobody@127.0.0.1:{free_port()}/none")
    assert handle() == {"created": "notifications", "deleted": "notifications"}
    assert stored(aws) == 4
    change(monkeypatch, DATABASE_URL=service_environment["DATABASE_URL"])
    assert handle(PATIENCE) == {}
    assert facts(aws) == ["notification:created"]


def test_without_dynamodb_nothing_is_applied(
    handle: Handle, aws: Aws, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An event that is not stored must not have an effect."""
    change(monkeypatch, AWS_ENDPOINT_URL_DYNAMODB=f"http://127.0.0.1:{free_port()}", EVENT_STORE_TABLE="elsewhere")
    assert set(handle().values()) == {"event_store"}
    assert count_notifications(database_url) == 0
    monkeypatch.delenv("AWS_ENDPOINT_URL_DYNAMODB")
    change(monkeypatch, EVENT_STORE_TABLE=aws.table)
    assert handle(PATIENCE) == {}
    assert facts(aws) == ["notification:created"]


def test_without_sns_only_what_has_a_fact_fails(
    handle: Handle, aws: Aws, database_url: str, service_environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A deletion of what was not there has none. The fact waits in the outbox and goes out with the redelivery."""
    change(monkeypatch, AWS_ENDPOINT_URL_SNS=f"http://127.0.0.1:{free_port()}", EVENT_RETENTION_DAYS="1")
    assert handle() == {"created": "notification_topic"}
    assert len(outbox(database_url)) == 1
    monkeypatch.delenv("AWS_ENDPOINT_URL_SNS")
    change(monkeypatch, EVENT_RETENTION_DAYS="0")
    assert handle(PATIENCE) == {}
    assert handle(PATIENCE) == {}
    assert facts(aws) == ["notification:created"]


def test_with_postgresql_and_sns_down_at_once_what_is_only_stored_succeeds(
    handle: Handle, aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each failure concerns the records that need the backend."""
    change(
        monkeypatch,
        DATABASE_URL=f"postgresql://nobody@127.0.0.1:{free_port()}/none",
        AWS_ENDPOINT_URL_SNS=f"http://127.0.0.1:{free_port()}",
    )
    assert handle() == {"created": "notifications", "deleted": "notifications"}


@pytest.mark.parametrize("backend", ["postgresql", "dynamodb", "sns"])
def test_a_backend_that_never_answers_costs_bounded_time(
    handle: Handle, silent_port: int, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    """The batch is answered before the invocation ends, and what does not need the backend has succeeded."""
    silent = {
        "postgresql": {"DATABASE_URL": f"postgresql://nobody@127.0.0.1:{silent_port}/none"},
        "dynamodb": {"AWS_ENDPOINT_URL_DYNAMODB": f"http://127.0.0.1:{silent_port}", "EVENT_RETENTION_DAYS": "2"},
        "sns": {"AWS_ENDPOINT_URL_SNS": f"http://127.0.0.1:{silent_port}", "EVENT_RETENTION_DAYS": "3"},
    }
    change(monkeypatch, **silent[backend])
    started = time.monotonic()
    failed = handle(seconds=5)
    assert time.monotonic() - started < 5
    expected = {
        "postgresql": {"created", "deleted"},
        "dynamodb": {"created", "deleted", "stored only 1", "stored only 2"},
        "sns": {"created"},
    }
    assert failed.keys() == expected[backend]


def test_at_the_end_of_its_time_a_batch_is_reported_not_cut_off(handle: Handle, aws: Aws) -> None:
    """Nothing is begun any more; the records come back."""
    assert set(handle(seconds=0.5).values()) == {"deadline"}
    assert stored(aws) == 0
    assert handle(PATIENCE) == {}
