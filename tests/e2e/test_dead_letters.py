"""§10 on the deployed stack: a rejected event is a dead letter within seconds, and can be redriven."""

import json
import time
from typing import Any

import pytest

from event_service.dead_letters.__main__ import main
from local.deployment import Deployment
from local.stack import Stack
from local.world import World
from tests.support.messages import NOTE, legacy, text

MALFORMED = '{"userId": "user-a", "itemId": '
_SECONDS = 5


def letters(capsys: pytest.CaptureFixture[str]) -> list[Any]:
    capsys.readouterr()
    assert main(["list", "--json", "--stack", "event-service"]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def waiting(database: Stack, queue: str) -> int:
    names = ["ApproximateNumberOfMessages"]
    answer = database.client("sqs").get_queue_attributes(QueueUrl=queue, AttributeNames=names)
    return int(answer["Attributes"][names[0]])


def test_a_malformed_message_is_a_dead_letter_within_five_seconds(
    world: World, database: Stack, deployment: Deployment, capsys: pytest.CaptureFixture[str]
) -> None:
    """With its reason, and acknowledged; the command finds the queues by the stack's name."""
    queue = deployment["EventDeadLetterQueueUrl"]
    before = waiting(database, queue)
    start = time.monotonic()
    world.publish("reminder:created", MALFORMED)
    world.wait("the dead letter", lambda: waiting(database, queue) > before)
    assert time.monotonic() - start < _SECONDS
    world.wait("an empty queue", lambda: world.waiting() == 0)
    assert "not_json" in {letter["reason"] for letter in letters(capsys)}
    assert main(["discard", "--reason", "not_json", "--yes", "--stack", "event-service"]) == 0
    assert "not_json" not in {letter["reason"] for letter in letters(capsys)}


def test_a_redriven_event_is_processed(world: World, database: Stack, deployment: Deployment) -> None:
    """Back in the event queue, the function gets it."""
    client = database.client("sqs")
    event = text(legacy(itemId="redriven", eventData={}))
    attributes = {name: {"DataType": "String", "StringValue": value} for name, value in NOTE.items()}
    client.send_message(QueueUrl=deployment["EventDeadLetterQueueUrl"], MessageBody=event, MessageAttributes=attributes)
    assert main(["redrive", "--type", "note:added", "--yes", "--stack", "event-service"]) == 0
    world.wait("the event", lambda: bool(world.events("note#redriven")))


def test_the_deployed_sweeper_measures_the_outbox(world: World, database: Stack, deployment: Deployment) -> None:
    """It connects, and finds nothing to do."""
    answer = database.client("lambda").invoke(FunctionName=deployment["SweeperFunctionName"], Payload=b"{}")
    assert "FunctionError" not in answer
    assert json.loads(answer["Payload"].read())["failed"] == 0
