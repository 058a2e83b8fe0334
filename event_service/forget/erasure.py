"""Erases one user's personal data from the event store, the notifications and the outbox (rules: docs/erasure.md)."""

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from event_service.adapters.event_items import UNREADABLE, Item, data_attributes, data_of, to_item
from event_service.adapters.postgres import TimeLimitedConnection
from event_service.cli import NOTIFICATIONS, merge, note_merge
from event_service.codec.instants import format_instant, now
from event_service.domain.event import KNOWN_TYPES, notification_id
from event_service.domain.facts import Change, fact_of
from event_service.domain.redaction import redact
from event_service.merging import fold

_ITEMS_PER_REPORT: Final = 1000


@dataclass(frozen=True, slots=True)
class Erasure:
    """One person's data and where it is; `writes` False only counts what there is to erase."""

    user_id: str
    table: str
    client: Any
    connection: TimeLimitedConnection
    writes: bool
    retention_days: int = 0
    # How many were looked at, and how many of them held personal data.
    seen: Counter[str] = field(default_factory=Counter)
    personal: Counter[str] = field(default_factory=Counter)


def erase(task: Erasure) -> None:
    """Erase a person's data, or count it.

    Raises:
        psycopg.Error, botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError: a backend failed for long.

    """
    if task.writes:
        note_merge(task.connection)
    item_ids = set()
    for page in _pages(task, IndexName="by-user", KeyConditionExpression="userId = :value", value=task.user_id):
        item_ids |= {item["pk"]["S"].partition("#")[2] for item in page}
        left = [_forget_item(task, item, "events") for item in page]
        if task.writes:
            _renew_rows(task, [item for item in left if item is not None])
    rows = task.connection.execute("SELECT item_id FROM notifications WHERE user_id = %s", (task.user_id,)).fetchall()
    item_ids |= {item_id for (item_id,) in rows}
    for item_id in sorted(item_ids):
        stream = f"notification#{notification_id(task.user_id, item_id)}"
        for page in _pages(task, KeyConditionExpression="pk = :value", value=stream, ConsistentRead=True):
            for item in page:
                if "userId" not in item:  # with one, it is another producer's event
                    _forget_item(task, item, "facts")
    _forget_outbox(task)
    _forget_rows(task)


def _pages(task: Erasure, *, value: str, **request: Any) -> Iterator[list[Item]]:
    request |= {"TableName": task.table, "ExpressionAttributeValues": {":value": {"S": value}}}
    while True:
        answer = task.client.query(**request)
        yield answer["Items"]
        if "LastEvaluatedKey" not in answer:
            return
        request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]


def _forget_item(task: Erasure, item: Item, kind: str) -> Item | None:
    """Erase what of an item is personal and return what is left; of one that cannot be read, nothing is erased."""
    try:
        left = emptied(item)
    except UNREADABLE:
        if not task.writes:  # reading it back, this is what is left
            print(f"forget: eventData cannot be read: {item['pk']['S']} {item['sk']['S']}", file=sys.stderr)
            task.seen[f"unreadable {kind}"] += 1
            task.personal[f"unreadable {kind}"] += 1
        return None
    task.seen[kind] += 1
    if task.seen.total() % _ITEMS_PER_REPORT == 0:
        print(f"forget: {'erasing' if task.writes else 'reading back'}: {task.seen.total():,} items so far")
    if left == item and "forgottenAt" in item:
        return left
    task.personal[kind] += 1
    if task.writes:
        _write_item(task, item, left)
    return left


def _write_item(task: Erasure, item: Item, left: Item) -> None:
    encoded = "eventDataEncoding" in left
    with suppress(task.client.exceptions.ConditionalCheckFailedException):  # it has expired meanwhile
        values = {":data": left["eventData"], ":now": {"S": now()}}
        task.client.update_item(
            TableName=task.table,
            Key={"pk": item["pk"], "sk": item["sk"]},
            UpdateExpression="SET eventData = :data, forgottenAt = :now"
            + (", eventDataEncoding = :gzip REMOVE userEmail" if encoded else " REMOVE userEmail, eventDataEncoding"),
            ConditionExpression="attribute_exists(pk)",
            ExpressionAttributeValues=values | ({":gzip": left["eventDataEncoding"]} if encoded else {}),
        )


def _renew_rows(task: Erasure, items: Sequence[Item]) -> None:
    """Make rows what the emptied events make of them; so a rebuild makes the same."""
    known = [item for item in items if item.get("eventType", {}).get("S") in KNOWN_TYPES]
    for requests in fold(known, lambda *_: None):
        merge(task.connection, NOTIFICATIONS, requests)


def _forget_outbox(task: Erasure) -> None:
    """Empty the facts that wait, and store them: published or not, a copy that comes back finds itself forgotten."""
    waiting = task.connection.execute(
        "SELECT event_pk, event_sk, change, notification ->> 'id', notification::text FROM outbox"
        " WHERE notification ->> 'userId' = %s",
        (task.user_id,),
    ).fetchall()
    for pk, sk, change, id_, text in waiting:
        task.seen["facts waiting"] += 1
        if (left := redact(text)) != text:
            task.personal["facts waiting"] += 1
            if task.writes:
                fact = fact_of(Change(pk, sk, change, id_, task.user_id, None, left))
                with suppress(task.client.exceptions.ConditionalCheckFailedException):  # it is there
                    task.client.put_item(
                        TableName=task.table,
                        Item={**to_item(fact, now(), task.retention_days), "forgottenAt": {"S": now()}},
                        ConditionExpression="attribute_not_exists(pk)",
                    )
                task.connection.execute(
                    "UPDATE outbox SET notification = %s WHERE event_pk = %s AND event_sk = %s", (left, pk, sk)
                )


def _forget_rows(task: Erasure) -> None:
    """Empty what no stored event has renewed: its events may have expired. Events of later on are ordinary."""
    found = task.connection.execute(
        "SELECT id, user_email, notification_data::text, event_pk, updated_at, event_id FROM notifications"
        " WHERE user_id = %s ORDER BY item_id",
        (task.user_id,),
    ).fetchall()
    kind = "notifications without stored events" if task.writes else "notifications"
    for id_, email, text, pk, updated_at, event_id in found:
        task.seen[kind] += not task.writes
        if email is None and redact(text) == text:
            continue
        key = {"pk": {"S": pk}, "sk": {"S": f"{format_instant(updated_at)}#{event_id}"}}
        item = task.client.get_item(TableName=task.table, Key=key, ConsistentRead=True).get("Item")
        if task.writes and item is not None and "forgottenAt" not in item:
            continue
        task.personal[kind] += 1
        if task.writes:
            task.seen[kind] += 1
            task.connection.execute(
                "UPDATE notifications SET user_email = NULL, notification_data = %s"
                " WHERE id = %s AND (event_pk, updated_at, event_id) = (%s, %s, %s)",
                (redact(text), id_, pk, updated_at, event_id),
            )


def emptied(item: Item) -> Item:
    """Return an item of the event store without personal data; all else of it stays, also how it is compressed."""
    left = {name: value for name, value in item.items() if name != "userEmail"}
    data = data_of(item)
    if (redacted := redact(data)) == data:
        return left
    return {name: value for name, value in left.items() if name != "eventDataEncoding"} | data_attributes(redacted)
