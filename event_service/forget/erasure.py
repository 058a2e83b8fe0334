"""Erases one user's personal data from event store, notifications and outbox (docs/erasure.md has the rule)."""

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from event_service.adapters.event_items import (
    BY_USER,
    EVENT_TYPE,
    FORGOTTEN_AT,
    ID,
    ITEM_ERRORS,
    PK,
    SK,
    USER_ID,
    Item,
    is_fact,
    is_forgotten,
    key_of,
    text_of,
    to_item,
)
from event_service.adapters.postgres import TimeLimitedConnection
from event_service.adapters.upkeep import NOTIFICATIONS, empty_row, merge, pending_facts, replace_pending, rows_of
from event_service.codec.instants import format_instant, now
from event_service.deadline import Deadline
from event_service.domain.event import KNOWN_TYPES, Event, notification_id
from event_service.domain.facts import fact_id, fact_of
from event_service.domain.redaction import redact
from event_service.errors import Paused
from event_service.forget.items import emptied, replace_item
from event_service.merging import announced_keys, merge_requests

_ITEMS_PER_REPORT: Final = 1000


@dataclass(frozen=True, slots=True)
class Erasure:
    """One person's data and where it is; `writes` False only counts what there is to erase.

    At the deadline it pauses. The next run reads everything again, and writes only what is left to write.

    `seen` counts what was looked at, by kind, and `personal` how much of it held personal data.
    """

    user_id: str
    table: str
    client: Any
    connection: TimeLimitedConnection
    writes: bool
    retention_days: int = 0
    deadline: Deadline = field(default_factory=Deadline.never)
    seen: Counter[str] = field(default_factory=Counter)
    personal: Counter[str] = field(default_factory=Counter)


def erase(task: Erasure) -> None:
    """Erase a person's data, or count it.

    Raises:
        psycopg.Error, botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError: a backend was unavailable for
            long.
        Paused: the deadline came first.

    """
    # Read before the facts, because a fact is stored before it leaves the outbox.
    facts = {fact_id(fact.pk, fact.sk, fact.kind) for fact in pending_facts(task.connection, task.user_id)}
    facts |= {text_of(item, ID) or "" for page in _fact_pages(task, _notifications(task)) for item in page}
    for page in _event_pages(task):
        left = [_erase_item(task, item, "events") for item in page]
        if task.writes:
            _renew_rows(task, [item for item in left if item is not None], facts)
    # The outbox first: a fact that leaves it in the meantime is stored by then, and found below. The list of
    # notifications is read again, because the first event of one may have been stored since.
    _erase_outbox(task)
    for page in _fact_pages(task, _notifications(task)):
        for item in page:
            _erase_item(task, item, "facts")
    _erase_rows(task)


def _notifications(task: Erasure) -> list[str]:
    """Return the ids of the notifications that a person has or had."""
    targets = {(row.subject, row.item_id) for row in rows_of(task.connection, task.user_id)}
    for page in _event_pages(task, ProjectionExpression=f"{PK}, {EVENT_TYPE}"):
        for item in page:
            if known := KNOWN_TYPES.get(text_of(item, EVENT_TYPE) or ""):
                targets.add((known.subject, (text_of(item, PK) or "").partition("#")[2]))
    return [notification_id(task.user_id, *target) for target in sorted(targets)]


def _event_pages(task: Erasure, **request: Any) -> Iterator[list[Item]]:
    yield from _pages(
        task, IndexName=BY_USER, KeyConditionExpression=f"{USER_ID} = :value", value=task.user_id, **request
    )


def _fact_pages(task: Erasure, notifications: Sequence[str]) -> Iterator[list[Item]]:
    for id_ in notifications:
        stream = f"notification#{id_}"
        for page in _pages(task, KeyConditionExpression=f"{PK} = :value", value=stream, ConsistentRead=True):
            yield [item for item in page if is_fact(item)]


def _pages(task: Erasure, *, value: str, **request: Any) -> Iterator[list[Item]]:
    request |= {"TableName": task.table, "ExpressionAttributeValues": {":value": {"S": value}}}
    while True:
        _check_time(task)
        answer = task.client.query(**request)
        yield answer["Items"]
        if "LastEvaluatedKey" not in answer:
            return
        request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]


def _check_time(task: Erasure) -> None:
    if not task.deadline.remaining():
        raise Paused


def _erase_item(task: Erasure, item: Item, kind: str) -> Item | None:
    """Erase what is personal in an item and return what is left; if it cannot be read, nothing is erased."""
    _check_time(task)
    try:
        left = emptied(item)
    except ITEM_ERRORS:
        if not task.writes:  # when reading back, this is what is left
            print(f"forget: eventData cannot be read: {text_of(item, PK)} {text_of(item, SK)}", file=sys.stderr)
            task.seen[f"unreadable {kind}"] += 1
            task.personal[f"unreadable {kind}"] += 1
        return None
    task.seen[kind] += 1
    if task.seen.total() % _ITEMS_PER_REPORT == 0:
        print(f"forget: {'erasing' if task.writes else 'reading back'}: {task.seen.total():,} items so far")
    if left == item and is_forgotten(item):
        return left
    task.personal[kind] += 1
    if task.writes:
        replace_item(task.client, task.table, left)
    return left


def _renew_rows(task: Erasure, items: Sequence[Item], facts: set[str]) -> None:
    """Update the rows from the emptied events, as a rebuild would."""
    announced = announced_keys(items, facts.intersection)
    for requests in merge_requests(items, announced, lambda *_: None):
        merge(task.connection, NOTIFICATIONS, requests)


def _erase_outbox(task: Erasure) -> None:
    """Empty the facts that wait, each in the event store first: any copy of it is a duplicate from then on."""
    for fact in [*pending_facts(task.connection, task.user_id)]:
        task.seen["facts waiting"] += 1
        if (left := redact(fact.notification)) != fact.notification:
            task.personal["facts waiting"] += 1
            if task.writes:
                waiting = replace(fact, user_email=None, notification=left)
                _store_emptied(task, fact_of(waiting))
                replace_pending(task.connection, waiting)


def _store_emptied(task: Erasure, fact: Event) -> None:
    """Store an emptied fact, or empty the one that is stored."""
    try:
        task.client.put_item(
            TableName=task.table,
            Item={**to_item(fact, now(), task.retention_days), FORGOTTEN_AT: {"S": now()}},
            ConditionExpression=f"attribute_not_exists({PK})",
        )
    except task.client.exceptions.ConditionalCheckFailedException:
        item = task.client.get_item(TableName=task.table, Key=key_of(*fact.key), ConsistentRead=True).get("Item")
        if item is not None:
            _erase_item(task, item, "facts")


def _erase_rows(task: Erasure) -> None:
    """Empty the rows whose events may have expired; a row that a later event has decided is left alone."""
    kind = "notifications without stored events" if task.writes else "notifications"
    for row in rows_of(task.connection, task.user_id):
        _check_time(task)
        task.seen[kind] += not task.writes
        if row.user_email is None and redact(row.data) == row.data:
            continue
        key = key_of(row.stream, f"{format_instant(row.updated_at)}#{row.event_id}")
        item = task.client.get_item(TableName=task.table, Key=key, ConsistentRead=True).get("Item")
        if task.writes and item is not None and not is_forgotten(item):
            continue
        task.personal[kind] += 1
        if task.writes:
            task.seen[kind] += 1
            empty_row(task.connection, row, redact(row.data))
