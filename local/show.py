"""`python -m local.show WHAT`: prints what a running `make local` has stored, sent and logged."""

import json
import sys
from collections.abc import Callable, Iterator

import psycopg

from event_service.domain.event import FACT_TYPES
from local.deployment import Deployment
from local.progress import table
from local.stack import Stack
from local.state import running

_EVENTS_PER_REQUEST = 10_000


def main(arguments: list[str]) -> int:
    """Print one of the views; return the exit status."""
    state = running()
    if len(arguments) != 1 or arguments[0] not in _VIEWS or state is None:
        print(f"usage: python -m local.show {'|'.join(_VIEWS)}, while `make local` is running", file=sys.stderr)
        return 2
    try:
        _VIEWS[arguments[0]](*state)
    except psycopg.OperationalError:
        print("PostgreSQL does not answer: is `python -m local.outage` running?", file=sys.stderr)
        return 1
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
    for line in logged(stack, deployment["EventServiceLogGroupName"]):
        print(line)


def _failures(stack: Stack, deployment: Deployment) -> None:
    groups: dict[tuple[str, str, str], list[str]] = {}
    for group in ("EventServiceLogGroupName", "SweeperLogGroupName"):
        for line in logged(stack, deployment[group]):
            entry = json.loads(line) if line.startswith("{") else {}
            if "reason" in entry and "message" in entry:
                key = entry["message"], entry["reason"], entry.get("field", "")
                groups.setdefault(key, []).append(entry.get("handover_error") or entry["error"])
    rows = [(len(errors), *key, errors[-1]) for key, errors in groups.items()]
    table("Failures by reason", ("count", "message", "reason", "field", "latest error"), sorted(rows, reverse=True))


def logged(stack: Stack, group: str) -> Iterator[str]:
    """Yield a log group's lines. The emulator returns the first 10,000 events, without a token for the next."""
    client, start = stack.client("logs"), 0
    while True:
        events = client.filter_log_events(logGroupName=group, startTime=start)["events"]
        is_last = len(events) < _EVENTS_PER_REQUEST
        start = events[-1]["timestamp"] if events else 0
        yield from (event["message"].rstrip() for event in events if is_last or event["timestamp"] < start)
        if is_last:
            return


_VIEWS: dict[str, Callable[[Stack, Deployment], None]] = {
    "events": _events,
    "notifications": _notifications,
    "facts": _facts,
    "queues": _queues,
    "failures": _failures,
    "log": _log,
}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
