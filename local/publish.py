"""`python -m local.publish FILE`: publishes the events of a sample file to the topic of a running `make local`."""

import json
import sys
from pathlib import Path
from typing import Any

from local.state import running


def main(arguments: list[str]) -> int:
    """Publish what each record of the file holds; return the exit status."""
    state = running()
    if len(arguments) != 1 or state is None:
        print("usage: python -m local.publish events/FILE.json, while `make local` is running", file=sys.stderr)
        return 2
    stack, deployment = state
    sns = stack.client("sns")
    for record in json.loads(Path(arguments[0]).read_text())["Records"]:
        message, attributes = _published(record)
        answer = sns.publish(
            TopicArn=deployment["EventTopicArn"],
            Message=message,
            MessageAttributes={
                name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()
            },
        )
        print(f"published {answer['MessageId']}: {attributes.get('eventType', 'no event type among the attributes')}")
    return 0


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
