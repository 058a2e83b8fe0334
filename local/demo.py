"""`make demo`: a reminder's life, mishaps included, through the deployed service."""

import json
import sys
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from local.deployment import Deployment, DeploymentError, deployed_stack
from local.progress import step, table
from local.stack import Stack, stop_when_terminated
from local.world import UnexpectedError, World

USER = {"userId": "user-a", "userEmail": "alice@example.com"}
MALFORMED = '{"userId": "user-a", "itemId": '
# The scheduler's query, word for word; it runs every minute.
SCHEDULER_SQL = (
    'SELECT "Notification"."id", "Notification"."userId", "Notification"."userEmail", "Notification"."deliverAt",'
    ' "Notification"."itemType", "Notification"."itemId", "Notification"."notificationData"'
    ' FROM "notification" "Notification" WHERE "Notification"."deliverAt" = %s'
)


@dataclass(frozen=True)
class Clock:
    """The demo's time: `at(3)` is its third second, `due` the minute at which the reminders are due."""

    start: datetime
    due: datetime

    def at(self, second: int) -> str:
        return _rfc3339(self.start + timedelta(seconds=second))


def main() -> int:
    """Run the demo; return 0 if everything is as expected."""
    stop_when_terminated()
    try:
        with (
            tempfile.TemporaryDirectory(prefix="event-service-") as directory,
            deployed_stack(Path(directory), {}, step) as (stack, deployment),
        ):
            _play(stack, deployment)
        step("everything is as expected")
    except (UnexpectedError, DeploymentError) as exc:
        print(f"\nNot as expected: {exc}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return 130
    return 0


def _play(stack: Stack, deployment: Deployment) -> None:
    world = World(stack, deployment)
    now = datetime.now(UTC).replace(microsecond=0)
    # All of the reminder's changes are in the past: a deletion occurs when it is published, after them.
    clock = Clock(now - timedelta(minutes=1), now.replace(second=0) + timedelta(hours=1))

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
    world.wait("the first events", lambda: len(world.events()) == 5)
    step("publishing: the first reminder is updated")
    world.publish("reminder:updated", update)
    world.wait("the update", lambda: len(world.events()) == 7)
    world.wait("an empty queue", lambda: world.waiting() == 0)
    step("publishing: the same update again, and a malformed message")
    world.publish("reminder:updated", update)
    world.publish("reminder:created", MALFORMED)
    step("publishing, late: an earlier update")
    world.publish("reminder:updated", reminder("rent", 10, "Pay the rent soon"))
    world.wait("the late update", lambda: len(world.events()) == 8)
    step("publishing: the first reminder is deleted")
    world.publish("reminder:deleted", reminder("rent", 30, "Pay the rent today"))
    world.wait("the deletion", lambda: len(world.events()) == 10)
    step("waiting for the event queue to drain")
    world.wait("an empty queue", world.is_drained)
    _show_and_check(world, clock)


def _show_and_check(world: World, clock: Clock) -> None:
    history = [(item["occurredAt"]["S"], item["eventType"]["S"]) for item in world.events("reminder#rent")]
    table("The stored history of the first reminder (DynamoDB)", ("occurred at", "event"), history)
    verbs = ["created", "updated", "updated", "deleted"]
    _expect(
        "the history of the first reminder", [f"reminder:{verb}" for verb in verbs], [event for _, event in history]
    )

    due = world.query(SCHEDULER_SQL, clock.due.strftime("%Y-%m-%dT%H:%M:%S.000+00:00"))
    rows = [(row[5], row[1], row[3].isoformat(), json.loads(row[6])["message"]) for row in due]
    table("Due notifications, by the scheduler's own query (PostgreSQL)", ("item", "user", "due", "message"), rows)
    _expect("the due notifications", [("meeting", "Stand-up meeting")], [(row[0], row[3]) for row in rows])

    facts = [(fact["eventType"], fact["eventData"]["itemId"], fact["occurredAt"]) for fact in world.facts()]
    table("Facts received from the notification topic (SNS to SQS)", ("fact", "item", "occurred at"), facts)
    changes = [("created", "meeting"), ("created", "rent"), ("deleted", "rent"), ("updated", "rent")]
    _expect("the facts", [(f"notification:{kind}", item) for kind, item in changes], sorted(fact[:2] for fact in facts))

    dead = world.dead_letters()
    table("Dead letters, with the reason that they carry", ("message", "reason"), dead)
    _expect("the dead-letter queue", [MALFORMED], [body for body, _ in dead])
    _expect("the reason", [True], ["JSON object" in reason for _, reason in dead])
    print()


def _expect(what: str, expected: object, actual: object) -> None:
    if actual != expected:
        raise UnexpectedError(f"{what}\n  expected {expected}\n  found    {actual}")


def _rfc3339(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.000Z")


if __name__ == "__main__":
    sys.exit(main())
