"""`python -m local.publish FILE`: publishes the events of a sample file to the topic of a running `make local`."""

import json
import sys
from pathlib import Path
from typing import Any

from local.deployment import Deployment
from local.stack import Stack
from local.state import running

_SNS_BYTES = 256 * 1024


def main(arguments: list[str]) -> int:
    """Publish what each record of the file holds; return the exit status."""
    state = running()
    if len(arguments) != 1 or not Path(arguments[0]).is_file() or state is None:
        print("usage: python -m local.publish events/FILE.json, while `make local` is running", file=sys.stderr)
        return 2
    stack, deployment = state
    for record in json.loads(Path(arguments[0]).read_text())["Records"]:
        message, attributes = _published(record)
        done = _publish(stack, deployment, message, attributes)
        print(f"{done}: {attributes.get('eventType', 'no event type among the attributes')}")
    return 0


def _publish(stack: Stack, deployment: Deployment, message: str, attributes: dict[str, str]) -> str:
    """Publish to the event topic, or send what SNS is too small for to the event queue, as a producer has to."""
    typed = {name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()}
    if len(message.encode()) > _SNS_BYTES:
        queue = deployment["EventQueueUrl"]
        answer = stack.client("sqs").send_message(QueueUrl=queue, MessageBody=message, MessageAttributes=typed)
        return f"sent {answer['MessageId']} to the queue, being above SNS's 256 KiB"
    answer = stack.client("sns").publish(TopicArn=deployment["EventTopicArn"], Message=message, MessageAttributes=typed)
    return f"published {answer['MessageId']}"


def _published(record: dict[str, Any]) -> tuple[str, dict[str, str]]:
    """Return the message that a record came from, and its attributes."""
    try:
        notification = json.loads(record["body"])
    except ValueError:
        notification = None
    if isinstance(notification, dict) and notification.get("Type") == "Notification":
        attributes = notification.get("MessageAttributes", {})
        return notification["Message"], {name: attribute["Value"] for name, attribute in attributes.items()}
    return record["body"], {name: value["stringValue"] for name, value in record["messageAttributes"].items()}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
