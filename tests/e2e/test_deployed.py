"""What the deployed stack does: it processes events, hands over dead letters, and runs the built functions."""

import json
import time
from typing import Any

import pytest

from event_service.dead_letters.__main__ import main as dead_letters
from local import publish, show, state
from local.deployment import ROOT, Deployment
from local.invoke import invoke
from local.stack import Stack
from local.world import World
from tests.support.messages import CREATED, NOTE, PAYLOAD, legacy, raw, reminder_data, text

MALFORMED = '{"userId": "user-a", "itemId": '
_SECONDS = 5


def reminder(item: str) -> dict[str, Any]:
    return legacy(eventData=reminder_data(id=item), itemId=item)


def test_an_event_goes_all_the_way(world: World) -> None:
    """Published to the event topic, it is stored and applied, its fact is published, and it leaves the queue."""
    world.publish("reminder:created", reminder("all-the-way"))
    world.wait("the event", lambda: bool(world.events("reminder#all-the-way")))
    world.wait("an empty queue", lambda: world.waiting() == 0)
    (item,) = world.events("reminder#all-the-way")
    assert json.loads(item["eventData"]["S"]) == reminder_data(id="all-the-way")
    ((notification_id, data),) = world.query(
        'SELECT "id", "notificationData" FROM "notification" WHERE "itemId" = %s', "all-the-way"
    )
    assert json.loads(data)["message"] == PAYLOAD
    assert len(world.events(f"notification#{notification_id}")) == 1
    facts = [fact for fact in world.facts() if fact["itemId"] == notification_id]
    assert [fact["eventType"] for fact in facts] == ["notification:created"]


def test_raw_delivery_comes_to_the_same(world: World) -> None:
    """Switched on at the subscription, without a change to the function."""
    with world.raw_delivery():
        world.publish("reminder:created", reminder("raw"))
        world.wait("the event", lambda: bool(world.events("reminder#raw")))
    assert world.query('SELECT "userId" FROM "notification" WHERE "itemId" = %s', "raw") == [("user-a",)]


def test_a_bad_record_ends_in_the_dead_letter_queue_alone(world: World) -> None:
    """Its neighbours go through; it carries its reason."""
    world.publish("reminder:created", reminder("good-1"))
    world.publish("reminder:created", reminder("bad") | {"userId": ""})
    world.publish("reminder:created", reminder("good-2"))
    world.wait("the dead letter", world.is_drained)
    assert world.events("reminder#bad") == []
    assert [len(world.events(f"reminder#{item}")) for item in ("good-1", "good-2")] == [1, 1]
    ((body, error),) = world.dead_letters()
    assert json.loads(body)["itemId"] == "bad"
    assert error.startswith("userId: ")


def letters(capsys: pytest.CaptureFixture[str]) -> list[Any]:
    capsys.readouterr()
    assert dead_letters(["list", "--json", "--stack", "event-service"]) == 0
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
    assert dead_letters(["discard", "--reason", "not_json", "--yes", "--stack", "event-service"]) == 0
    assert "not_json" not in {letter["reason"] for letter in letters(capsys)}


def test_a_redriven_event_is_processed(world: World, database: Stack, deployment: Deployment) -> None:
    """Back in the event queue, the function gets it."""
    client = database.client("sqs")
    event = text(legacy(itemId="redriven", eventData={}))
    attributes = {name: {"DataType": "String", "StringValue": value} for name, value in NOTE.items()}
    client.send_message(QueueUrl=deployment["EventDeadLetterQueueUrl"], MessageBody=event, MessageAttributes=attributes)
    assert dead_letters(["redrive", "--type", "note:added", "--yes", "--stack", "event-service"]) == 0
    world.wait("the event", lambda: bool(world.events("note#redriven")))


def test_the_deployed_sweeper_measures_the_outbox(world: World, database: Stack, deployment: Deployment) -> None:
    """It connects, and finds nothing to do."""
    answer = database.client("lambda").invoke(FunctionName=deployment["SweeperFunctionName"], Payload=b"{}")
    assert "FunctionError" not in answer
    assert json.loads(answer["Payload"].read())["failed"] == 0


@pytest.mark.usefixtures("state_file")
@pytest.mark.parametrize(
    ("sample", "stream"), [("unknown-type", "todo#todo-81c2"), ("large", "reminder#lArg3A9kDw0pVnMe2RtYhQ")]
)
def test_a_sample_can_be_published(
    sample: str,
    stream: str,
    database: Stack,
    deployment: Deployment,
    world: World,
) -> None:
    """To a running `make local`; one that is too large for SNS goes to the queue."""
    arguments = [str(ROOT / "events" / f"{sample}.json")]
    assert publish.main(arguments) == 2
    with state.announced(database, deployment):
        assert publish.main(arguments) == 0
    world.wait("the event", lambda: len(world.events(stream)) == 1)


@pytest.mark.usefixtures("state_file")
def test_an_event_of_your_own_can_be_published_and_shown(
    database: Stack, deployment: Deployment, world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the commands that `make local` prints, while it runs."""
    event = json.dumps({"userId": "me", "itemId": "shown", "eventData": {}})
    assert show.main(["events"]) == 2
    with state.announced(database, deployment):
        assert publish.main(["order:placed", event]) == 0
        world.wait("the event", lambda: len(world.events("order#shown")) == 1)
        for view, expected in (("events", "order#shown"), ("notifications", "deliverAt"), ("log", "START RequestId")):
            capsys.readouterr()
            assert show.main([view]) == 0
            assert expected in capsys.readouterr().out


def test_the_built_function_runs_under_the_runtime_interface_client(
    built_function_environment: dict[str, str], world: World
) -> None:
    """With nothing on its path but the function, the layer and AWS's client."""
    records = [raw(reminder("invoked"), CREATED), raw("x" * 256 * 1024, CREATED) | {"messageId": "bad"}]
    invocation = invoke(json.dumps({"Records": records}).encode(), built_function_environment)
    assert invocation.error is None
    assert invocation.answer == {"batchItemFailures": [{"itemIdentifier": "bad"}]}
    assert len(world.events("reminder#invoked")) == 1


@pytest.mark.parametrize("name", ["EVENT_STORE_TABLE", "NOTIFICATION_TOPIC_ARN", "DATABASE_URL"])
def test_a_missing_variable_fails_the_start_with_its_name(
    built_function_environment: dict[str, str], name: str
) -> None:
    """In the init phase, before any record is taken."""
    environment = {key: value for key, value in built_function_environment.items() if key != name}
    invocation = invoke(b'{"Records": []}', environment)
    assert name in invocation.error["errorMessage"]
    assert invocation.deadline is None
