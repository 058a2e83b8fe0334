"""§6 and §7: migrations, the environment, and what the function may be called with."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest

from local.stack import Stack, create_database
from tests.support.messages import native, sent
from tests.support.world import World

REPOSITORY = Path(__file__).parent.parent.parent
SCHEMA = (
    "SELECT table_name, column_name, data_type, column_default FROM information_schema.columns"
    " WHERE table_schema = 'public' ORDER BY 1, 2"
)
CALL = """
import json, sys, types
from event_service.handler import lambda_handler
context = types.SimpleNamespace(get_remaining_time_in_millis=lambda: 60_000)
event = json.load(sys.stdin)
print(json.dumps({"answer": lambda_handler(event, context)}))
"""


def python(environment: dict[str, str], *arguments: str) -> "subprocess.Popen[str]":
    """Start this Python in the repository with the given environment only."""
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=REPOSITORY,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(process: "subprocess.Popen[str]", given: str = "") -> tuple[int, str, str]:
    """Its exit status, output and errors."""
    with process:
        output, errors = process.communicate(given, timeout=60)
    return process.returncode, output, errors


def schema(url: str) -> list[Any]:
    with psycopg.connect(url) as connection:
        return connection.execute(SCHEMA).fetchall()


def test_migrating_twice_and_twice_at_once_is_harmless(stack: Stack, database_url: str) -> None:
    """Two migrations at the same time of an empty database, and a third later, all succeed and agree."""
    url = create_database(stack, "migrated_at_once")
    processes = [python(os.environ | {"DATABASE_URL": url}, "-m", "event_service.migrate") for _ in range(3)]
    results = [finished(process) for process in processes]
    assert [status for status, *_ in results] == [0, 0, 0], results
    first = schema(url)
    assert first == schema(database_url)
    assert finished(python(os.environ | {"DATABASE_URL": url}, "-m", "event_service.migrate"))[0] == 0
    assert schema(url) == first


@pytest.mark.parametrize("name", ["EVENT_STORE_TABLE", "NOTIFICATION_TOPIC_ARN", "DATABASE_HOST"])
def test_a_missing_variable_fails_at_start_with_its_name(service_environment: dict[str, str], name: str) -> None:
    """Without a variable that it needs the function does not start, and says which one."""
    database = {
        "DATABASE_SECRET_ARN": "arn:aws:secretsmanager:us-east-1:000000000000:secret:x",
        "DATABASE_HOST": "localhost",
        "DATABASE_NAME": "events",
    }
    environment = service_environment | database
    del environment["DATABASE_URL"], environment[name]
    process = python(environment, "-c", CALL)
    status, _, errors = finished(process, '{"Records": []}')
    assert status != 0
    assert name in errors


def test_each_service_may_have_an_endpoint_of_its_own(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """`AWS_ENDPOINT_URL_<SERVICE>` is honoured without, and before, `AWS_ENDPOINT_URL`."""
    endpoint = os.environ["AWS_ENDPOINT_URL"]
    for service in ("DYNAMODB", "SNS"):
        monkeypatch.setenv(f"AWS_ENDPOINT_URL_{service}", endpoint)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    world.accept(sent(native()))
    assert len(world.published()) == 1
    assert len(world.facts_stored()) == 1


def test_an_empty_batch_has_an_empty_answer(world: World) -> None:
    """No record, no failure."""
    assert world.invoke([]).failed == set()


@pytest.mark.parametrize("full", [False, True], ids=["minimal", "as Lambda's"])
def test_the_context_needs_nothing_but_the_time_left(world: World, *, full: bool) -> None:
    """The function answers whatever else its context has."""
    from event_service.handler import lambda_handler

    context = SimpleNamespace(get_remaining_time_in_millis=lambda: 30_000)
    if full:
        context.function_name = "event-service"
        context.function_version = "$LATEST"
        context.memory_limit_in_mb = 512
        context.invoked_function_arn = "arn:aws:lambda:us-east-1:000000000000:function:event-service"
        context.aws_request_id = "request-1"
    record = sent(native())
    assert lambda_handler({"Records": [record]}, context) == {"batchItemFailures": []}
    bad = record | {"messageId": "bad", "body": "{"}
    assert lambda_handler({"Records": [bad]}, context) == {"batchItemFailures": [{"itemIdentifier": "bad"}]}
    assert world.row()["item_id"] == "item-1"


def test_every_log_line_is_json(world: World) -> None:
    """Failures and metrics alike are one JSON object a line."""
    good = sent(native())
    answer = world.invoke([good, good | {"messageId": "bad", "body": "{"}])
    assert answer.lines
    assert all(isinstance(json.loads(line), dict) for line in answer.lines)


def test_the_same_batch_delivered_to_two_functions_at_once(world: World, service_environment: dict[str, str]) -> None:
    """Overlapping deliveries leave what one would; only a fact may have been published twice."""
    names = [f"R{number}" for number in range(30)]
    batch = json.dumps({"Records": [sent(native(id=name, itemId=name)) for name in names]})
    processes = [python(os.environ | service_environment, "-c", CALL) for _ in range(2)]
    for process in processes:
        assert process.stdin
        process.stdin.write(batch)
        process.stdin.flush()
    results = [finished(process) for process in processes]
    for status, output, errors in results:
        assert status == 0, errors
        assert json.loads(output.splitlines()[-1]) == {"answer": {"batchItemFailures": []}}
    assert len(world.events()) == len(world.rows()) == len(names)
    published = world.published()
    assert {message.body["id"] for message in published} == set(world.facts_stored())
    assert {message.body["eventType"] for message in published} == {"notification:created"}
    assert sorted({message.body["causationId"] for message in published}) == sorted(names)
    assert world.outbox() == []
