"""Removes a person's personal data: `python -m event_service.forget --user ID`.

E-mail addresses, message texts and URLs go from the event store, the notifications and the facts that wait in the
outbox (docs/erasure.md has the rule). Every event stays, with its type, ids, key and order. What was broken off goes on
when started again. In the end everything is read back.

Exit status: 0 nothing personal is left, 1 something is (run it again), 2 it could not be done.
"""

import argparse
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from event_service.commands import NOTIFICATIONS, CommandError, alone, drop_shadow, make_client, merge, note_merge, run
from event_service.config import DatabaseSettings, event_retention_days, event_store_table
from event_service.database import TimeLimitedConnection
from event_service.erasure import emptied, redact
from event_service.events import KNOWN_TYPES, notification_id
from event_service.facts import Change, fact_of
from event_service.formats import Identifier
from event_service.instants import format_instant, now
from event_service.items import UNREADABLE, Item, to_item
from event_service.replay import fold

_ITEMS_PER_REPORT: Final = 1000


@dataclass(frozen=True, slots=True)
class Forgetting:
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


def forget(task: Forgetting) -> None:
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


def _pages(task: Forgetting, *, value: str, **request: Any) -> Iterator[list[Item]]:
    request |= {"TableName": task.table, "ExpressionAttributeValues": {":value": {"S": value}}}
    while True:
        answer = task.client.query(**request)
        yield answer["Items"]
        if "LastEvaluatedKey" not in answer:
            return
        request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]


def _forget_item(task: Forgetting, item: Item, kind: str) -> Item | None:
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


def _write_item(task: Forgetting, item: Item, left: Item) -> None:
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


def _renew_rows(task: Forgetting, items: Sequence[Item]) -> None:
    """Make rows what the emptied events make of them; so a rebuild makes the same."""
    known = [item for item in items if item.get("eventType", {}).get("S") in KNOWN_TYPES]
    for requests in fold(known, lambda *_: None):
        merge(task.connection, NOTIFICATIONS, requests)


def _forget_outbox(task: Forgetting) -> None:
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


def _forget_rows(task: Forgetting) -> None:
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Forget whom the command line names; return the exit status."""
    description, _, details = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        "python -m event_service.forget",
        description=description,
        epilog=details
        + "\nEnvironment: EVENT_STORE_TABLE, DATABASE_URL (or DATABASE_SECRET_ARN, _HOST, _NAME), AWS_*;"
        + " EVENT_RETENTION_DAYS where the service has it.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--user", required=True, metavar="ID", help="the userId of the person")
    parser.add_argument("--dry-run", action="store_true", help="change nothing, and count what would be erased")
    parser.add_argument("--yes", action="store_true", help="do not ask for confirmation")
    return run("forget", lambda: _forget(parser.parse_args(arguments)))


def _forget(options: argparse.Namespace) -> int:
    table, database = event_store_table(os.environ), DatabaseSettings.from_environment(os.environ)
    retention_days = event_retention_days(os.environ)
    try:
        TypeAdapter(Identifier).validate_python(options.user)
    except ValidationError as exc:
        raise CommandError(f"--user is no userId: {exc.errors()[0]['msg']}") from exc
    if not (options.dry_run or options.yes) and not _confirmed(options.user, table):
        raise CommandError("not confirmed; nothing was changed")
    with alone(database) as connection:

        def task(*, writes: bool) -> Forgetting:
            return Forgetting(options.user, table, make_client("dynamodb"), connection, writes, retention_days)

        if not options.dry_run:
            drop_shadow(connection)  # everybody's rows are in it, of whoever is forgotten too
            erasing = task(writes=True)
            forget(erasing)
            _print("erased", erasing)
        reading = task(writes=False)
        forget(reading)
        _print("would be erased" if options.dry_run else "left", reading)
    return int(not options.dry_run and reading.personal.total() > 0)


def _confirmed(user_id: str, table: str) -> bool:
    print(f"This erases personal data of user {user_id} in {table} and in PostgreSQL, and cannot be undone.")
    try:
        return input("Type the user id to go on: ") == user_id
    except EOFError:
        return False


def _print(what: str, task: Forgetting) -> None:
    counts = ", ".join(
        f"{task.personal[kind]:,} of {count:,} {kind}" for kind, count in sorted(task.seen.items()) if count
    )
    print(f"forget: {now()} {task.user_id}: {what}: {counts or 'nothing there is of this user'}")


if __name__ == "__main__":
    sys.exit(main())
