"""One worker's part of a rebuild: a segment of the event store, scanned page by page for facts or for events."""

import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from json import JSONDecodeError
from typing import Any, Final
from uuid import UUID

import botocore.session
import psycopg
from botocore.exceptions import ClientError

from event_service.adapters.aws import NO_RESPONSE, make_transport
from event_service.adapters.batching import is_transient
from event_service.adapters.data_plane import DynamoDb
from event_service.adapters.event_items import EVENT_ATTRIBUTES, EVENT_TYPE, ID, Item, event_key, key_of, text_of
from event_service.adapters.postgres import TimeLimitedConnection, connect
from event_service.adapters.upkeep import merge
from event_service.cli import secrets_client
from event_service.codec.json_text import raw_members, string_value
from event_service.domain.event import FACT_TYPES, KNOWN_TYPES, EventKey
from event_service.merging import announced_keys, merge_requests
from event_service.rebuild.progress import (
    EVENTS,
    FACTS,
    Position,
    RebuildJob,
    add_facts,
    advance,
    known_facts,
    position_of,
)
from event_service.rebuild.workers import pause, should_stop

# A response that was cut off is not JSON.
_MAY_PASS: Final = (psycopg.OperationalError, psycopg.errors.UniqueViolation, JSONDecodeError, *NO_RESPONSE)
_ATTEMPTS: Final = 10  # to get one page further: with their pauses, about a minute
_LONGEST_PAUSE_SECONDS: Final = 20


def scan_segment(job: RebuildJob, phase: str, segment: int, segments: int) -> None:
    """Work through a segment from its stored position; after a failure that may heal, resume there.

    At least one page is done: a rebuild that is stopped again and again still completes.
    """
    failures = 0
    while True:
        try:
            with connect(job.database, secrets_client) as connection:
                # A crash of PostgreSQL may lose the last pages, together with their positions.
                connection.execute("SET synchronous_commit = off")
                # Without statistics, the planner would read all known facts for each page.
                connection.execute("SET enable_seqscan = off")
                for _ in _pages_done(connection, job, phase, segment, segments):
                    failures = 0
                    if should_stop():
                        break
                return
        except (*_MAY_PASS, ClientError) as exc:
            failures += 1
            if failures == _ATTEMPTS or (isinstance(exc, ClientError) and not is_transient(exc)):
                raise
            print(f"rebuild: segment {segment}: {type(exc).__name__}, trying again", file=sys.stderr)
            pause(min(2**failures / 20, _LONGEST_PAUSE_SECONDS))
            if should_stop():
                return


def _pages_done(
    connection: TimeLimitedConnection, job: RebuildJob, phase: str, segment: int, segments: int
) -> Iterator[None]:
    """Work through a segment page by page; yield after each."""
    position = position_of(connection, job, phase, segment)
    if position.done:
        return
    for page in _scan(job.source, phase, segment, segments, position):
        refused = 0
        if phase == FACTS:
            add_facts(connection, (id_ for item in page["Items"] if (id_ := _fact_id(item))))
        else:
            refused = _merge_page(connection, job, page["Items"])
        last = page.get("LastEvaluatedKey")
        advance(
            connection,
            job,
            phase,
            segment,
            last=event_key(last) if last else None,
            scanned=page["ScannedCount"],
            events=page["Count"] if phase == EVENTS else 0,
            refused=refused,
        )
        yield


def _fact_id(item: Item) -> str | None:
    """Return the id of a fact; None if it is not one of the service's own, which are UUIDs."""
    try:
        return str(UUID(text_of(item, ID)))
    except (TypeError, ValueError):
        return None


def _merge_page(connection: TimeLimitedConnection, job: RebuildJob, items: Sequence[Item]) -> int:
    """Merge the events of a page; return how many today's code or PostgreSQL refused.

    The other events of their notifications decide then. Merged again, a page changes nothing.
    """
    left_out: set[EventKey] = set()

    def leave_out(key: EventKey, reason: str) -> None:
        left_out.add(key)
        print(f"rebuild: refused: {' '.join(key)}: {reason}", file=sys.stderr)

    announced = announced_keys(items, lambda ids: known_facts(connection, ids))
    pending = [*reversed(items)]
    while pending:
        refused = [
            request
            for requests in merge_requests(pending, announced, leave_out)
            for request in merge(connection, job.target, requests)
        ]
        for request in refused:
            leave_out(_key_of_request(request), "PostgreSQL refuses the row")
        pending = [item for item in pending if event_key(item) not in left_out] if refused else []
    return len(left_out)


def _key_of_request(request: str) -> EventKey:
    members = raw_members(request)
    pk, event_id = string_value(members["pk"]), string_value(members["id"])
    return pk or "", f"{string_value(raw_members(members['notification'])['updatedAt'])}#{event_id}"


@lru_cache(maxsize=1)
def _client(_table: str) -> DynamoDb:
    """Return this worker's client for a table: to create one for each segment takes as long as a page."""
    return DynamoDb(make_transport(botocore.session.get_session(), "dynamodb"))


def _scan(table: str, phase: str, segment: int, segments: int, position: Position) -> Iterator[Any]:
    """Yield the pages of a segment with the facts, or with the events of known types, after a position.

    The next page is requested while the caller works on the current one.
    """
    names = FACT_TYPES if phase == FACTS else KNOWN_TYPES
    types = {f":{number}": {"S": name} for number, name in enumerate(names)}
    attributes = (ID,) if phase == FACTS else EVENT_ATTRIBUTES
    request: dict[str, Any] = {
        "TableName": table,
        "Segment": segment,
        "TotalSegments": segments,
        "ConsistentRead": True,
        "FilterExpression": f"#type IN ({', '.join(types)})",
        "ProjectionExpression": ", ".join(f"#{name}" for name in attributes),
        "ExpressionAttributeNames": {f"#{name}": name for name in attributes} | {"#type": EVENT_TYPE},
        "ExpressionAttributeValues": types,
    }
    with ThreadPoolExecutor(1) as reader:
        start = {} if position.key is None else {"ExclusiveStartKey": key_of(*position.key)}
        following = reader.submit(_client(table).scan, **request, **start)
        while True:
            page = following.result()
            if last := page.get("LastEvaluatedKey"):
                following = reader.submit(_client(table).scan, **request, ExclusiveStartKey=last)
            yield page
            if not last:
                return
