"""`python -m local.publish`: publishes events to the topic of a running `make local`.

Either those of a sample file, or one of your own: its event type, then its JSON.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from local.deployment import Deployment
from local.stack import Stack
from local.state import running

_SNS_BYTES = 256 * 1024


def main(arguments: list[str]) -> int:
    """Publish the events; return the exit status."""
    state = running()
    if state is None or not (len(arguments) == 2 or (len(arguments) == 1 and Path(arguments[0]).is_file())):
        print(
            "usage: python -m local.publish events/FILE.json, or python -m local.publish EVENT_TYPE JSON,"
            " while `make local` is running",
            file=sys.stderr,
        )
        return 2
    for message, attributes in _events(arguments):
        done = _publish(*state, message, attributes)
        print(f"{done}: {attributes.get('eventType', 'no event type among the attributes')}")
    return 0


def _events(arguments: list[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the message and the attributes of each event."""
    if len(arguments) == 2:
        event_type, message = arguments
        yield message, {"eventType": event_type}
        return
    for record in json.loads(Path(arguments[0]).read_text())["Records"]:
        yield _published(record)


def _publish(stack: Stack, deployment: Deployment, message: str, attributes: dict[str, str]) -> str:
    """Publish to the event topic, or send a message too large for SNS to the event queue, as a producer must."""
    typed = {name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()}
    if len(message.encode()) > _SNS_BYTES:
        queue = deployment["EventQueueUrl"]
        answer = stack.client("sqs").send_message(QueueUrl=queue, MessageBody=message, MessageAttributes=typed)
        return f"sent {answer['MessageId']} to the queue: SNS takes 256 KiB at most"
    answer = stack.client("sns").publish(TopicArn=deployment["EventTopicArn"], Message=message, MessageAttributes=typed)
    return f"published {answer['MessageId']}"


def _published(record: dict[str, Any]) -> tuple[str, dict[str, str]]:
    """Return the message in a record and its attributes."""
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
