"""The AWS resources of one test: an event store table, a notification topic and a queue that receives its facts."""

import itertools
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from local.stack import Stack

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_sns import SNSClient
    from mypy_boto3_sqs import SQSClient

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


def make_aws(stack: Stack) -> Aws:
    """Make a table with the template's keys and index, and a topic with a queue subscribed to it."""
    number = next(_numbers)
    dynamodb, sns, sqs = (stack.client(service) for service in ("dynamodb", "sns", "sqs"))
    table = f"event-store-{number}"
    dynamodb.create_table(
        TableName=table,
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk", "userId")],
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
    aws = Aws(table, topic_arn, queue_url, dynamodb, sns, sqs)
    subscribe(aws)
    return aws


def subscribe(aws: Aws) -> None:
    """Let the topic deliver to the queue, raw."""
    attributes = aws.sqs.get_queue_attributes(QueueUrl=aws.facts_queue_url, AttributeNames=["QueueArn"])["Attributes"]
    aws.sns.subscribe(
        TopicArn=aws.topic_arn,
        Protocol="sqs",
        Endpoint=attributes["QueueArn"],
        Attributes={"RawMessageDelivery": "true"},
    )


def function_environment(stack: Stack, aws: Aws, database_url: str) -> dict[str, str]:
    """The environment in which the function finds the stack, these resources and this database."""
    return stack.environment() | {
        "DATABASE_URL": database_url,
        "EVENT_STORE_TABLE": aws.table,
        "NOTIFICATION_TOPIC_ARN": aws.topic_arn,
    }


def received(aws: Aws, wait_seconds: int = 0) -> list[dict[str, Any]]:
    """Up to ten messages from the queue of facts, which are then deleted; the emulator delivers at once."""
    answer = aws.sqs.receive_message(
        QueueUrl=aws.facts_queue_url,
        MaxNumberOfMessages=10,
        MessageAttributeNames=["All"],
        WaitTimeSeconds=wait_seconds,
    )
    messages: list[Any] = [*answer.get("Messages", [])]
    if messages:
        entries: list[Any] = [{"Id": str(n), "ReceiptHandle": m["ReceiptHandle"]} for n, m in enumerate(messages)]
        aws.sqs.delete_message_batch(QueueUrl=aws.facts_queue_url, Entries=entries)
    return messages


def published(aws: Aws, count: int = 0) -> list[dict[str, Any]]:
    """The facts that arrived since the last call; waits for `count` of them, but returns any others, too."""
    facts: list[dict[str, Any]] = []
    for _ in range(count + 5):
        while messages := received(aws, wait_seconds=1 if len(facts) < count else 0):
            facts += [json.loads(message["Body"]) for message in messages]
        if len(facts) >= count:
            break
    return facts
