"""PostgreSQL stopped for an hour under traffic: `python -m tests.soak.outage [MINUTES]`, on the deployed stack.

An event is published every 5 s, before, during and after the outage. The exit status is 0 if none became a dead letter,
each was stored, each notification is what its latest event says, and each stored fact was published.
"""

import json
import random
import re
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from local.deployment import Deployment, deployed_stack
from local.progress import step, table
from local.show import logged
from local.stack import Stack, stop_when_terminated, stopped_postgres
from local.world import World

_EVERY_SECONDS = 5
_AROUND_SECONDS = 60
_DRAIN_SECONDS = 600
_ITEMS = 300

Event = dict[str, Any]


def main(arguments: list[str]) -> int:
    """Have the outage; return the exit status."""
    stop_when_terminated()
    seconds = float(arguments[0] if arguments else 60) * 60
    sent: list[Event] = []
    with (
        tempfile.TemporaryDirectory(prefix="event-service-") as name,
        deployed_stack(Path(name), {}, step) as (stack, deployment),
    ):
        world = World(stack, deployment)
        _publish(world, sent, _AROUND_SECONDS)
        with stopped_postgres(Path(name) / "postgres"):
            step(f"PostgreSQL is stopped for {seconds:.0f} s")
            _publish(world, sent, seconds)
        step("PostgreSQL is running again")
        _publish(world, sent, _AROUND_SECONDS)
        give_up = time.monotonic() + _DRAIN_SECONDS
        while world.waiting() and time.monotonic() < give_up:
            time.sleep(1)
        step("the queue is empty" if not world.waiting() else "the queue is not empty")
        return _judge(world, stack, deployment, sent)


def _publish(world: World, sent: list[Event], seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        number = len(sent)
        event_type = f"reminder:{random.Random(number).choice(['created', 'created', 'updated', 'deleted'])}"
        event = {
            "id": f"event-{number}",
            "eventType": event_type,
            "occurredAt": datetime.now(UTC).isoformat(),
            "userId": "user-a",
            "itemId": f"item-{random.Random(-number).randrange(_ITEMS)}",
            "eventData": {"date": "2099-01-01T00:00:00Z", "message": f"message {number}"},
        }
        world.publish(event_type, event)
        sent.append(event)
        time.sleep(_EVERY_SECONDS)


def _judge(world: World, stack: Stack, deployment: Deployment, sent: list[Event]) -> int:
    stored = {item["id"]["S"]: item["eventType"]["S"] for item in world.events()}
    latest = {event["itemId"]: event["id"] for event in sent}
    decided = dict(world.query("SELECT item_id, (decided_by).event_id FROM notifications"))
    facts = {identity for identity, event_type in stored.items() if event_type.startswith("notification:")}
    published = {fact["id"] for fact in world.facts()}
    problems = {
        "dead letters": world.dead_letter_count(),
        "events not stored": len({event["id"] for event in sent} - stored.keys()),
        "notifications that are not as their latest event says": len(latest.items() ^ decided.items()),
        "stored facts not published, or the reverse": len(facts ^ published),
        "facts in the outbox": world.query("SELECT count(*) FROM outbox")[0][0],
    }
    log = [*logged(stack, deployment["EventServiceLogGroupName"])]
    billed = [int(found[1]) for line in log if (found := re.search(r"Billed Duration: (\d+) ms", line))]
    failed = [json.loads(line)["message_id"] for line in log if '"record failed"' in line]
    figures = {
        "events sent": len(sent),
        "facts published": len(published),
        "invocations": len(billed),
        "seconds billed": sum(billed) // 1000,
        "most deliveries of one event that failed": max(map(failed.count, {*failed}), default=0),
    }
    table("What became of it", ("", "number"), [(label, f"{count:,}") for label, count in (figures | problems).items()])
    return 1 if any(problems.values()) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
