"""One worker's part of a rebuild: a segment of the event store, scanned and merged page by page."""

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import botocore.session
import psycopg
from botocore.exceptions import ClientError

from event_service.adapters.aws import NO_RESPONSE, make_transport
from event_service.adapters.batching import is_transient
from event_service.adapters.data_plane import DynamoDb
from event_service.adapters.event_items import Item
from event_service.adapters.postgres import TimeLimitedConnection
from event_service.cli import NOTIFICATIONS, merge, open_database
from event_service.codec.json_text import texts_of
from event_service.config import DatabaseSettings
from event_service.domain.event import KNOWN_TYPES, EventKey
from event_service.merging import fold
from event_service.rebuild.workers import pause, should_stop

DEFAULT_SEGMENTS: Final = 4
_ATTEMPTS: Final = 10  # to get one page further: with their pauses about a minute
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
    """What to rebuild from what; one worker works in this process, more in processes of their own.

    `restart` begins anew where a rebuild was broken off.
    """

    database: DatabaseSettings
    source: str
    target: str = NOTIFICATIONS
    workers: int = 1
    segments: int = DEFAULT_SEGMENTS
    restart: bool = False


def merge_segment(job: Job, segment: int, segments: int) -> None:
    """Merge a segment from where it got to; after a failure that may pass, again from there."""
    failures = 0
    while not should_stop():
        try:
            with open_database(job.database) as connection:
                for _ in _merge_pages(connection, job, segment, segments):
                    failures = 0
                    if should_stop():
                        break
                return
        except (psycopg.OperationalError, psycopg.errors.UniqueViolation, ClientError, *NO_RESPONSE) as exc:
            failures += 1
            if failures == _ATTEMPTS or (isinstance(exc, ClientError) and not is_transient(exc)):
                raise
            print(f"rebuild: segment {segment}: {type(exc).__name__}, trying again", file=sys.stderr)
            pause(min(2**failures / 20, _LONGEST_PAUSE_SECONDS))


def _merge_pages(connection: TimeLimitedConnection, job: Job, segment: int, segments: int) -> Iterator[None]:
    """Merge a segment page by page; yield after each."""
    where = "WHERE target = %s AND segment = %s"
    pk, sk, done = connection.execute(
        f"SELECT last_pk, last_sk, done FROM rebuild_progress {where}", (job.target, segment)
    ).fetchone() or (None, None, True)
    if done:
        return
    for page in _scan(job.source, segment, segments, (pk, sk)):
        refused = _merge_page(connection, job.target, page["Items"])
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


def _merge_page(connection: TimeLimitedConnection, target: str, items: Sequence[Item]) -> int:
    """Merge the events of a page and return how many were refused, by today's code or by PostgreSQL.

    The others of their items decide then. Merged again, a page changes nothing.
    """
    left_out: set[EventKey] = set()

    def leave_out(key: EventKey, reason: str) -> None:
        left_out.add(key)
        print(f"rebuild: refused: {' '.join(key)}: {reason}", file=sys.stderr)

    pending = [*reversed(items)]
    while pending:
        refused = [
            request
            for requests in fold(pending, lambda item, reason: leave_out(_key(item), str(reason)))
            for request in merge(connection, target, requests)
        ]
        for request in refused:
            leave_out(_key_of_request(request), "PostgreSQL refuses the row")
        pending = [item for item in pending if _key(item) not in left_out] if refused else []
    return len(left_out)


def _key(item: Item) -> EventKey:
    pk, sk = (item.get(name, {}).get("S", "?") for name in ("pk", "sk"))
    return pk, sk


def _key_of_request(request: str) -> EventKey:
    texts = texts_of(request)
    pk, event_id = json.loads(texts["pk"]), json.loads(texts["id"])
    return pk, f"{json.loads(texts_of(texts['notification'])['updatedAt'])}#{event_id}"


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
    client = DynamoDb(make_transport(botocore.session.get_session(), "dynamodb"))
    while True:
        page = client.scan(**request)
        yield page
        if "LastEvaluatedKey" not in page:
            return
        request["ExclusiveStartKey"] = page["LastEvaluatedKey"]
