"""Event stores with a history in them, and the notifications that belong to it."""

import contextlib
import io
import json
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import boto3
from botocore.config import Config
from hypothesis import strategies as st

from event_service.adapters.event_items import to_item
from event_service.codec.instants import format_instant
from event_service.config import DatabaseSettings
from event_service.domain.event import Event
from event_service.handler import lambda_handler
from event_service.rebuild.progress import RebuildJob
from tests.support import event_items
from tests.support.aws import Aws
from tests.support.messages import Json, native, raw
from tests.support.tables import deciding_events

START = datetime(2026, 11, 1, tzinfo=UTC)
PATIENT = SimpleNamespace(get_remaining_time_in_millis=lambda: 60_000)  # also on a busy machine

# Histories of two items of one user: (event type, item, second, name), with several events at the same instant.
HISTORIES = st.lists(
    st.tuples(
        st.sampled_from(
            ["reminder:created", "reminder:updated", "reminder:deleted", "notification:update", "order:placed"]
        ),
        st.sampled_from(["item-1", "item-2"]),
        st.integers(0, 3),
        st.sampled_from("aB\u00e9\U0001f600"),
    ),
    min_size=1,
    max_size=8,
    unique_by=lambda event: (event[0].partition(":")[0], *event[1:]),
)


def rebuild_job(environment: dict[str, str], **options: Any) -> RebuildJob:
    """A rebuild in two segments of what the function in this environment has stored."""
    database = DatabaseSettings(url=environment["DATABASE_URL"])
    return RebuildJob(database, environment["EVENT_STORE_TABLE"], **{"segments": 2, **options})


def record(event_type: str, user: str, item: str, second: int, **fields: Any) -> Json:
    """The record of an event `second` seconds after noon; by default, its id names everything about it."""
    data = fields.pop("data", {"date": "2027-01-01T08:00:00Z", "message": f"{second}", "amount": "AMOUNT"})
    body = native(
        id=fields.pop("id", f"{event_type}-{user}-{item}-{second}"),
        eventType=event_type,
        userId=user,
        itemId=item,
        occurredAt=f"2026-11-23T12:{second // 60 % 60:02}:{second % 60:02}Z",
        eventData=data,
        **fields,
    )
    return raw(json.dumps(body).replace('"AMOUNT"', "1.50")) | {"messageId": str(body["id"])}


def check_facts_match_rows(aws: Aws, url: str) -> None:
    """Check that a subscriber knows what lives: there is a fact of each row's deciding event, of the right kind."""
    told: dict[str, dict[str, str]] = defaultdict(dict)
    for fact in event_items.facts(aws):
        told[fact["pk"].removeprefix("notification#")][fact["causationId"]] = fact["eventType"]
    for id_, event_id, deleted in deciding_events(url):
        if not deleted:
            assert told[id_][event_id] in ("notification:created", "notification:updated")
        elif any(not name.endswith("deleted") for name in told[id_].values()):
            assert told[id_][event_id] == "notification:deleted"


def deliver(records: list[Json], size: int = 10) -> None:
    """Handle records in this process, in batches."""
    for start in range(0, len(records), size):
        with contextlib.redirect_stdout(io.StringIO()):
            assert lambda_handler({"Records": records[start : start + size]}, PATIENT) == {"batchItemFailures": []}


def seed(endpoint_url: str, table: str, events: Sequence[Event]) -> None:
    """Put events into the event store, and nowhere else, 25 at a time."""
    config = Config(max_pool_connections=4, parameter_validation=False)
    client = boto3.client("dynamodb", endpoint_url=endpoint_url, config=config)

    def put(start: int) -> None:
        puts: list[Any] = [
            {"PutRequest": {"Item": to_item(event, event.occurred_at)}} for event in events[start : start + 25]
        ]
        assert not client.batch_write_item(RequestItems={table: puts})["UnprocessedItems"]

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(put, range(0, len(events), 25)))


def history(count: int, items: int) -> list[Event]:
    """`count` events of reminders of ordinary size, spread evenly over `items` reminders."""
    data = json.dumps(
        {
            "id": "jiBF3GxpzzRxHVBw6LqAse",
            "userId": "user-a",
            "date": "2026-11-23T07:54:00.000Z",
            "isRecurring": False,
            "notifyOffset": 0,
            "notifyType": "push",
            "message": "Stand-up meeting",
            "url": "https://example.com/meet?x=1&y=2",
            "createdAt": "2026-11-23T06:54:06.410Z",
            "updatedAt": "2026-11-23T06:54:06.410Z",
        },
        separators=(",", ":"),
    )
    return [
        Event(
            id=f"01JDC9Z3V8K6T5N2Q4R7W{number:06}",
            occurred_at=format_instant(START + timedelta(seconds=number)),
            event_type="reminder:updated",
            item_type="reminder",
            item_id=f"jiBF3GxpzzRxHVBw{number % items:06}",
            user_id=f"user-{number % items % 1000}",
            user_email="alice@example.com",
            causation_id=None,
            data=data,
        )
        for number in range(count)
    ]
