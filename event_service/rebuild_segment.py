"""One worker's part of a rebuild: a segment of the event store, scanned and merged page by page."""

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import botocore.session
import psycopg
from botocore.exceptions import ClientError
from urllib3.exceptions import HTTPError

from event_service.aws import make_endpoint
from event_service.batches import is_transient
from event_service.commands import merge, open_database
from event_service.config import DatabaseSettings
from event_service.database import TimeLimitedConnection
from event_service.errors import Rejected
from event_service.events import KNOWN_TYPES
from event_service.items import Item
from event_service.lean_clients import DynamoDb
from event_service.replay import fold

NOTIFICATIONS: Final = "notifications"
DEFAULT_SEGMENTS: Final = 4
_ATTEMPTS: Final = 10  # to get one page further: with their pauses about a minute, as long as a failover takes
_LONGEST_PAUSE_SECONDS: Final = 20
_ATTRIBUTES: Final = (
    "pk",
    "sk",
    "id",
    "eventType",
    "userId",
    "userEmail",
    "occurredAt",
    "eventData",
    "eventDataEncoding",
)


@dataclass(frozen=True, slots=True)
class Job:
    """What to rebuild from what; one worker works in this process, more in processes of their own."""

    database: DatabaseSettings
    source: str
    target: str = NOTIFICATIONS
    workers: int = 1
    segments: int = DEFAULT_SEGMENTS


def merge_segment(job: Job, segment: int, segments: int) -> None:
    """Merge a segment from where it got to; after a failure that may pass, again from there."""
    failures = 0
    while True:
        try:
            with open_database(job.database) as connection:
                for _ in _merge_pages(connection, job, segment, segments):
                    failures = 0
                return
        except (psycopg.OperationalError, psycopg.errors.UniqueViolation, ClientError, HTTPError) as exc:
            failures += 1
            if failures == _ATTEMPTS or (isinstance(exc, ClientError) and not is_transient(exc)):
                raise
            print(f"rebuild: segment {segment}: {type(exc).__name__}, trying again", file=sys.stderr)
            time.sleep(min(2**failures / 20, _LONGEST_PAUSE_SECONDS))


def _merge_pages(connection: TimeLimitedConnection, job: Job, segment: int, segments: int) -> Iterator[None]:
    """Merge a segment page by page; yield after each."""
    where = "WHERE target = %s AND segment = %s"
    pk, sk, done = connection.execute(
        f"SELECT last_pk, last_sk, done FROM rebuild_progress {where}", (job.target, segment)
    ).fetchone() or (None, None, True)
    if done:
        return
    for page in _scan(job.source, segment, segments, (pk, sk)):
        refused = 0

        def refuse(item: Item, reason: Rejected) -> None:
            nonlocal refused
            refused += 1
            place = " ".join(item.get(name, {}).get("S", "?") for name in ("pk", "sk"))
            print(f"rebuild: refused: {place}: {reason}", file=sys.stderr)

        with connection.transaction():
            for requests in fold(reversed(page["Items"]), refuse):
                refused += merge(connection, job.target, requests)
            last = page.get("LastEvaluatedKey")
            connection.execute(
                "UPDATE rebuild_progress SET last_pk = %s, last_sk = %s, done = %s, scanned = scanned + %s,"
                f" events = events + %s, refused = refused + %s {where}",
                (
                    last and last["pk"]["S"],
                    last and last["sk"]["S"],
                    last is None,
                    page["ScannedCount"],
                    page["Count"],
                    refused,
                    job.target,
                    segment,
                ),
            )
        yield


def _scan(table: str, segment: int, segments: int, start: tuple[str | None, str | None]) -> Iterator[Any]:
    """Yield the pages of a segment with the events of known types, after a key if there is one."""
    types = {f":{number}": {"S": name} for number, name in enumerate(KNOWN_TYPES)}
    request: dict[str, Any] = {
        "TableName": table,
        "Segment": segment,
        "TotalSegments": segments,
        "ConsistentRead": True,
        "FilterExpression": f"#eventType IN ({', '.join(types)})",
        "ProjectionExpression": ", ".join(f"#{name}" for name in _ATTRIBUTES),
        "ExpressionAttributeNames": {f"#{name}": name for name in _ATTRIBUTES},
        "ExpressionAttributeValues": types,
    }
    if start[0] is not None:
        request["ExclusiveStartKey"] = {"pk": {"S": start[0]}, "sk": {"S": start[1]}}
    client = DynamoDb(make_endpoint(botocore.session.get_session(), "dynamodb"))
    while True:
        page = client.scan(**request)
        yield page
        if "LastEvaluatedKey" not in page:
            return
        request["ExclusiveStartKey"] = page["LastEvaluatedKey"]
