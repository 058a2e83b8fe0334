"""`make demo`: a reminder's life, and what can go wrong in one, through the really deployed service."""

import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg

from local.deployment import Deployment, DeploymentError, deployed_stack
from local.progress import step, table
from local.stack import Stack, stop_when_terminated

USER = {"userId": "user-a", "userEmail": "alice@example.com"}
MALFORMED = '{"userId": "user-a", "itemId": '
# What the scheduler sends, word for word; it asks minute by minute for what is due.
SCHEDULER_SQL = (
    'SELECT "Notification"."id", "Notification"."userId", "Notification"."userEmail", "Notification"."deliverAt",'
    ' "Notification"."itemType", "Notification"."itemId", "Notification"."notificationData"'
    ' FROM "notification" "Notification" WHERE "Notification"."deliverAt" = %s'
)
_WAIT_SECONDS = 60


class UnexpectedError(Exception):
    """The service did not do what the demo shows."""


@dataclass(frozen=True)
class Clock:
    """The time the demo plays at: `at(3)` is its third second, `due` the minute at which the reminders are due."""

    start: datetime
    due: datetime

    def at(self, second: int) -> str:
        return _rfc3339(self.start + timedelta(seconds=second))


def main() -> int:
    """Run the demo; return 0 if all is as it should be."""
    stop_when_terminated()
    try:
        with (
            tempfile.TemporaryDirectory(prefix="event-service-") as directory,
            deployed_stack(Path(directory), {"MaxReceiveCount": "2"}, step) as (stack, deployment),
        ):
            _play(stack, deployment)
        step("all is as it should be")
    except (UnexpectedError, DeploymentError) as exc:
        print(f"\nNot as it should be: {exc}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return 130
    return 0


def _play(stack: Stack, deployment: Deployment) -> None:
    world = World(stack, deployment)
    now = datetime.now(UTC).replace(microsecond=0)
    clock = Clock(now, now.replace(second=0) + timedelta(hours=1))

    def reminder(item: str, second: int, message: str) -> dict[str, Any]:
        data = {
            "id": item,
            "userId": "user-a",
            "date": _rfc3339(clock.due),
            "isRecurring": False,
            "notifyOffset": 0,
            "notifyType": "push",
            "message": message,
            "url": None,
            "createdAt": clock.at(0),
            "updatedAt": clock.at(second),
        }
        return {**USER, "itemId": item, "eventData": data}

    update = reminder("rent", 20, "Pay the rent today") | {"id": "update-1", "occurredAt": clock.at(20)}
    step("publishing to the event topic: two reminders are created, and an event of an unknown type")
    world.publish("reminder:created", reminder("rent", 0, "Pay the rent"))
    world.publish("reminder:created", reminder("meeting", 1, "Stand-up meeting"))
    world.publish("order:placed", {**USER, "itemId": "order-1", "eventData": {"total": 12.50}})
    world.wait("the first events", lambda: len(world.events()) == 5)  # noqa: PLR2004
    step("publishing: the first reminder is updated, the same update is delivered twice, and a malformed message")
    world.hurry()
    world.publish("reminder:updated", update)
    world.publish("reminder:updated", update)
    world.publish("reminder:created", MALFORMED)
    world.wait("the update", lambda: len(world.events()) == 7)  # noqa: PLR2004
    step("publishing: an update from before that one, late")
    world.publish("reminder:updated", reminder("rent", 10, "Pay the rent soon"))
    world.wait("the late update", lambda: len(world.events()) == 8)  # noqa: PLR2004
    step("publishing: the first reminder is deleted")
    world.publish("reminder:deleted", reminder("rent", 30, "Pay the rent today"))
    world.wait("the deletion", lambda: len(world.events()) == 10)  # noqa: PLR2004
    step("waiting for the event queue to drain")
    world.wait("an empty queue", world.is_drained)
    _show_and_check(world, clock)


def _show_and_check(world: "World", clock: Clock) -> None:
    history = [(item["occurredAt"]["S"], item["eventType"]["S"]) for item in world.events("reminder#rent")]
    table("The stored history of the first reminder (DynamoDB)", ("occurred at", "event"), history)
    verbs = ["created", "updated", "updated", "deleted"]
    _expect(
        "the history of the first reminder", [f"reminder:{verb}" for verb in verbs], [event for _, event in history]
    )

    due = world.query(SCHEDULER_SQL, clock.due.strftime("%Y-%m-%dT%H:%M:%S.000+00:00"))
    rows = [(row[5], row[1], row[3].isoformat(), json.loads(row[6])["message"]) for row in due]
    table("Due notifications, by the scheduler's own SQL (PostgreSQL)", ("item", "user", "due", "message"), rows)
    _expect("the due notifications", [("meeting", "Stand-up meeting")], [(row[0], row[3]) for row in rows])

    facts = [(fact["eventType"], fact["eventData"]["itemId"], fact["occurredAt"]) for fact in world.facts()]
    table("Facts that arrived from the notification topic (SNS to SQS)", ("fact", "item", "occurred at"), facts)
    changes = [("created", "meeting"), ("created", "rent"), ("deleted", "rent"), ("updated", "rent")]
    _expect("the facts", [(f"notification:{kind}", item) for kind, item in changes], sorted(fact[:2] for fact in facts))

    dead = [(body, world.reason(message_id)) for message_id, body in world.dead_letters()]
    table("In the dead-letter queue, with the reason from the log", ("message", "reason"), dead)
    _expect("the dead-letter queue", [MALFORMED], [body for body, _ in dead])
    _expect("the reason in the log", [True], ["is no JSON object" in reason for _, reason in dead])
    print()


def _expect(what: str, expected: object, actual: object) -> None:
    if actual != expected:
        raise UnexpectedError(f"{what}\n  expected {expected}\n  found    {actual}")


class World:
    """What surrounds the deployed service: its producers, its readers and what can be seen of it."""

    def __init__(self, stack: Stack, deployment: Deployment) -> None:
        self._stack = stack
        self._deployment = deployment
        self._sns = stack.client("sns")
        self._sqs = stack.client("sqs")
        self._dynamodb = stack.client("dynamodb")
        self._logs = stack.client("logs")
        self._facts = self._sqs.create_queue(QueueName="facts")["QueueUrl"]
        arn = self._sqs.get_queue_attributes(QueueUrl=self._facts, AttributeNames=["QueueArn"])["Attributes"][
            "QueueArn"
        ]
        self._sns.subscribe(
            TopicArn=deployment["NotificationTopicArn"],
            Protocol="sqs",
            Endpoint=arn,
            Attributes={"RawMessageDelivery": "true"},
        )

    def publish(self, event_type: str, event: dict[str, Any] | str) -> None:
        """Publish an event as the producers do."""
        attributes = {"eventType": event_type, "eventItemType": event_type.partition(":")[0]}
        self._sns.publish(
            TopicArn=self._deployment["EventTopicArn"],
            Message=event if isinstance(event, str) else json.dumps(event),
            MessageAttributes={
                name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()
            },
        )

    def hurry(self) -> None:
        """Let failed records come back after 2 seconds instead of 3 minutes: nobody waits that long for a demo."""
        queue = self._deployment["EventQueueUrl"]
        self._sqs.set_queue_attributes(QueueUrl=queue, Attributes={"VisibilityTimeout": "2"})

    def events(self, stream: str | None = None) -> list[Any]:
        """Return the stored events, of one stream or of all, in order."""
        items = self._dynamodb.scan(TableName=self._deployment["EventStoreTableName"], ConsistentRead=True)["Items"]
        chosen = [item for item in items if stream in (None, item["pk"]["S"])]
        return sorted(chosen, key=lambda item: (item["pk"]["S"], item["sk"]["S"]))

    def query(self, statement: str, *parameters: object) -> list[Any]:
        """Query PostgreSQL as the scheduler does."""
        with psycopg.connect(self._stack.database_url) as connection:
            return connection.execute(statement.encode(), parameters).fetchall()

    def facts(self) -> list[Any]:
        """Return the facts that arrived."""
        return sorted((json.loads(body) for _, body in self._receive(self._facts)), key=lambda fact: fact["occurredAt"])

    def dead_letters(self) -> list[tuple[str, str]]:
        """Return the ids and the original texts of the messages that were given up."""
        messages = self._receive(self._deployment["EventDeadLetterQueueUrl"])
        return [(message_id, json.loads(body)["Message"]) for message_id, body in messages]

    def reason(self, message_id: str) -> str:
        """Return why a record failed, from the function's log."""
        group = self._deployment["EventServiceLogGroupName"]
        lines = (event["message"] for event in self._logs.filter_log_events(logGroupName=group)["events"])
        records = [json.loads(line) for line in lines if line.startswith("{")]
        return next((record["error"] for record in records if record.get("message_id") == message_id), "not in the log")

    def is_drained(self) -> bool:
        """Tell whether the event queue is empty and what was to be given up has been."""
        waiting = sum(self._count(self._deployment["EventQueueUrl"]))
        return waiting == 0 and self._count(self._deployment["EventDeadLetterQueueUrl"])[0] == 1

    def wait(self, what: str, done: Callable[[], bool]) -> None:
        """Wait until something is done, within bounds."""
        give_up = time.monotonic() + _WAIT_SECONDS
        while not done():
            if time.monotonic() > give_up:
                raise UnexpectedError(f"waited {_WAIT_SECONDS} s for {what}: {len(self.events())} events are stored")
            time.sleep(0.2)

    def _receive(self, queue: str) -> list[tuple[str, str]]:
        messages = []
        while batch := self._sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages"):
            messages += [(message["MessageId"], message["Body"]) for message in batch]
        return messages

    def _count(self, queue: str) -> tuple[int, int]:
        names = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")
        attributes = self._sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=[*names])["Attributes"]
        return int(attributes[names[0]]), int(attributes[names[1]])


def _rfc3339(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.000Z")


if __name__ == "__main__":
    sys.exit(main())
