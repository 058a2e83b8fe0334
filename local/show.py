"""`python -m local.show WHAT`: prints what a running `make local` has stored, sent and logged."""

import sys
from collections.abc import Callable

import psycopg

from event_service.domain.event import FACT_TYPES
from local.deployment import Deployment
from local.progress import table
from local.stack import Stack
from local.state import running


def main(arguments: list[str]) -> int:
    """Print one of the views; return the exit status."""
    state = running()
    if len(arguments) != 1 or arguments[0] not in _VIEWS or state is None:
        print(f"usage: python -m local.show {'|'.join(_VIEWS)}, while `make local` is running", file=sys.stderr)
        return 2
    _VIEWS[arguments[0]](*state)
    return 0


def _events(stack: Stack, deployment: Deployment) -> None:
    items = stack.client("dynamodb").scan(TableName=deployment["EventStoreTableName"], ConsistentRead=True)["Items"]
    names = ("pk", "occurredAt", "eventType", "userId", "eventData")
    rows = sorted([item.get(name, {}).get("S", "") for name in names] for item in items)
    table("Event store (DynamoDB)", names, rows)


def _notifications(stack: Stack, _deployment: Deployment) -> None:
    with psycopg.connect(stack.database_url) as connection:
        cursor = connection.execute('SELECT * FROM "notification"')
        table("Notifications (PostgreSQL)", [column.name for column in cursor.description or ()], cursor.fetchall())


def _facts(stack: Stack, deployment: Deployment) -> None:
    pages = stack.client("dynamodb").get_paginator("scan").paginate(TableName=deployment["EventStoreTableName"])
    items = [item for page in pages for item in page["Items"] if item["eventType"]["S"] in FACT_TYPES]
    names = ("occurredAt", "eventType", "pk", "causationId")
    table("Stored facts (DynamoDB)", names, sorted([item[name]["S"] for name in names] for item in items))
    with psycopg.connect(stack.database_url) as connection:
        cursor = connection.execute("SELECT committed_at, kind, event_pk, event_sk FROM outbox ORDER BY committed_at")
        table("Facts that wait (outbox)", ("committed at", "kind", "event's stream", "and position"), cursor.fetchall())


def _queues(stack: Stack, deployment: Deployment) -> None:
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    rows = []
    for title, output in (("events", "EventQueueUrl"), ("dead letters", "EventDeadLetterQueueUrl")):
        answer = stack.client("sqs").get_queue_attributes(QueueUrl=deployment[output], AttributeNames=names)
        rows.append((title, *(answer["Attributes"][name] for name in names)))
    table("Queues (SQS)", ("queue", "waiting", "in flight or waiting for a retry"), rows)


def _log(stack: Stack, deployment: Deployment) -> None:
    group = deployment["EventServiceLogGroupName"]
    pages = stack.client("logs").get_paginator("filter_log_events").paginate(logGroupName=group)
    for page in pages:
        for entry in page["events"]:
            print(entry["message"].rstrip())


_VIEWS: dict[str, Callable[[Stack, Deployment], None]] = {
    "events": _events,
    "notifications": _notifications,
    "facts": _facts,
    "queues": _queues,
    "log": _log,
}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
