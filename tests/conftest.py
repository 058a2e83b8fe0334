"""The real backends that tests run against, started once; each test has a database, a table and a topic of its own."""

import itertools
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import boto3
import pytest

from event_service.config import DatabaseSettings
from event_service.migrate.schema import migrate
from local.stack import Stack, create_database, running_stack

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_sns import SNSClient
    from mypy_boto3_sqs import SQSClient

FAULT_MATRIX = "fault matrix"  # the property in which tests/faults counts what it tried

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Aws:
    """A test's own event store table and notification topic, and a queue that the topic delivers to, raw."""

    table: str
    topic_arn: str
    facts_queue_url: str
    dynamodb: "DynamoDBClient"
    sns: "SNSClient"
    sqs: "SQSClient"


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Run the stack for the whole session, with the environment pointing at it."""
    with running_stack(tmp_path_factory.mktemp("stack")) as running, pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
            patch.delenv(name, raising=False)
        for name, value in running.environment().items():
            patch.setenv(name, value)
        yield running


@pytest.fixture(scope="session")
def migrated_template(stack: Stack) -> str:
    """Return the name of a migrated database to make others from."""
    migrate(DatabaseSettings(url=create_database(stack, "migrated")))
    return "migrated"


@pytest.fixture
def database_url(stack: Stack, migrated_template: str) -> str:
    """Return the URL of a fresh, migrated database."""
    return create_database(stack, f"test_{next(_numbers)}", migrated_template)


@pytest.fixture
def aws(stack: Stack) -> Aws:
    """Make a fresh table, topic and queue."""
    return make_aws(stack)


def make_aws(stack: Stack) -> Aws:
    """Make a table as the template has it, and a topic with a queue subscribed to it."""
    number = next(_numbers)
    dynamodb = boto3.client("dynamodb", endpoint_url=stack.endpoint_url)
    sns = boto3.client("sns", endpoint_url=stack.endpoint_url)
    sqs = boto3.client("sqs", endpoint_url=stack.endpoint_url)
    table = f"event-store-{number}"
    dynamodb.create_table(
        TableName=table,
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        AttributeDefinitions=[
            {"AttributeName": "pk", "AttributeType": "S"},
            {"AttributeName": "sk", "AttributeType": "S"},
            {"AttributeName": "userId", "AttributeType": "S"},
        ],
        GlobalSecondaryIndexes=[
            {
                "IndexName": "by-user",
                "KeySchema": [
                    {"AttributeName": "userId", "KeyType": "HASH"},
                    {"AttributeName": "sk", "KeyType": "RANGE"},
                ],
                "Projection": {"ProjectionType": "ALL"},
            }
        ],
    )
    topic_arn = sns.create_topic(Name=f"notifications-{number}")["TopicArn"]
    queue_url = sqs.create_queue(QueueName=f"facts-{number}")["QueueUrl"]
    queue_arn = sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    sns.subscribe(TopicArn=topic_arn, Protocol="sqs", Endpoint=queue_arn, Attributes={"RawMessageDelivery": "true"})
    return Aws(table, topic_arn, queue_url, dynamodb, sns, sqs)


@pytest.fixture
def service_environment(stack: Stack, aws: Aws, database_url: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Set the function's environment, so that the handler works in-process."""
    environment = stack.environment() | {
        "DATABASE_URL": database_url,
        "EVENT_STORE_TABLE": aws.table,
        "NOTIFICATION_TOPIC_ARN": aws.topic_arn,
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return environment


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what was tried and how often facts were published again."""
    counted: dict[str, list[tuple[int, int, int]]] = defaultdict(list)
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties:
            if name == FAULT_MATRIX:
                counted[value[0]].append(value[1:])
    for way, tests in counted.items():
        positions, runs, repeats = zip(*tests, strict=True)
        terminalreporter.write_line(
            f"fault matrix, {way}: {max(positions)} positions x {len(tests)} modes,"
            f" {sum(runs)} runs, {sum(repeats)} facts published again, 0 lost"
        )
