"""The samples in events/, and what each of them must lead to."""

import json
from pathlib import Path
from typing import NamedTuple

from tests.support.messages import Json

FOLDER = Path(__file__).parents[2] / "events"
RECORDS: dict[str, list[Json]] = {
    path.stem: json.loads(path.read_text())["Records"] for path in sorted(FOLDER.glob("*.json"))
}

ALICE, BOB = ("user-a", "alice@example.com"), ("user-b", "bob@example.com")


class Case(NamedTuple):
    """The expected result of a sample; times are of 2026-11-23, and `live` is (user, e-mail, deliverAt, message)."""

    stream: str
    stored: dict[str, str]  # time of each event in the store: its type
    facts: dict[str, str]  # time of the causing event: what changed
    live: tuple[str, str, str, str] | None = None
    tombstone: str | None = None
    failures: dict[int, tuple[str, str]] = {}  # noqa: RUF012  # place in the batch: reason and field; never changed


ZAHNARZT = 'Zahnarzt – «größer» 日本語 🎉 "quoted" \\ back\nnewline\ttab <b>&amp;'
REMINDER, COMMANDED = "reminder#jiBF3GxpzzRxHVBw6LqAse", "notification#gWotojg32ORubMgxJkS6d8"
SHUFFLED = {"07:50:00.000": "created", "07:51:00.000": "updated", "07:52:00.000": "updated", "07:53:00.000": "deleted"}
REJECTIONS = {
    0: ("not_json", "body"),
    1: ("invalid_field", "itemId"),
    2: ("invalid_field", "eventData.date"),
    3: ("invalid_field", "itemType"),
    5: ("not_finite", "Message.eventData.notifyOffset"),
    6: ("invalid_text", "Message.itemId"),
    7: ("too_deep", "Message"),
    8: ("number_out_of_range", "eventData.notifyOffset"),
    9: ("conflict", "id"),
}


def one(stream: str, time: str, event_type: str, who: tuple[str, str], deliver_at: str, message: str) -> Case:
    """Return the case of a single event that makes a notification."""
    return Case(stream, {time: event_type}, {time: "created"}, (*who, deliver_at, message))


CASES = {
    "reminder-created": one(REMINDER, "06:54:06.410", "reminder:created", ALICE, "23T07:54", "Stand-up meeting"),
    "reminder-updated": one(REMINDER, "06:54:12.723", "reminder:updated", ALICE, "23T08:19", "Stand-up meeting"),
    "reminder-deleted": Case(REMINDER, {"06:54:15.041": "reminder:deleted"}, {}, tombstone="06:54:15.041"),
    "notification-create": one(COMMANDED, "06:59:07.294", "notification:create", BOB, "23T11:04", ZAHNARZT),
    "notification-update": one(COMMANDED, "06:59:12.336", "notification:update", BOB, "23T12:04", ZAHNARZT),
    "notification-delete": Case(COMMANDED, {"06:59:26.058": "notification:delete"}, {}, tombstone="06:59:26.058"),
    "raw-delivery": one(
        "reminder#waVlfEielGoJrv0QfFMAst", "06:55:06.718", "reminder:created", ("user-a", ""), "23T08:54", "No url here"
    ),
    "native": one(
        "reminder#Xk3vQ0rB7mLr1uTn5yZc2W", "07:10:00.123456", "reminder:created", BOB, "24T08:00", "Water the plants"
    ),
    "cloudevents": one(
        "reminder#calendar-5f1d", "07:20:00.000", "reminder:created", ALICE, "25T13:30", "Quarterly review"
    ),
    "unknown-type": Case("todo#todo-81c2", {"07:30:00.117": "todo:completed"}, {}),
    "duplicate-pair": one(
        "reminder#dUp4c8PzqLw0sVnKe2RtYh", "07:40:00.000", "reminder:created", ALICE, "23T09:00", "Call the dentist"
    ),
    "out-of-order": Case(
        "reminder#o9Rd3rShUffL3dL1f3xQ2w",
        {time: f"reminder:{change}" for time, change in SHUFFLED.items()},
        SHUFFLED,
        tombstone="07:53:00.000",
    ),
    "one-good-several-bad": one(
        "reminder#g00dOn3Betw33nBad0nes1", "08:00:00.000", "reminder:created", ALICE, "23T12:00", "Lunch with Bob"
    )._replace(failures=REJECTIONS),
    "large": one("reminder#lArg3A9kDw0pVnMe2RtYhQ", "08:10:00.000", "reminder:created", ALICE, "23T14:00", "All hands"),
}


def message(record: Json) -> str:
    """The event's text, taken out of its SNS notification if it is in one."""
    return str(json.loads(record["body"])["Message"]) if record["body"].startswith("{\n") else str(record["body"])
