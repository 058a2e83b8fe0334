"""The notifications made from the event store alone: the rows the live service wrote, whatever happens meanwhile."""

import contextlib
import gzip
import io
import itertools
import threading
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from event_service.handler import lambda_handler
from event_service.rebuild.__main__ import main
from event_service.rebuild.rebuild import compare, rebuild
from local.stack import Stack
from tests.integration.commands.rebuilds import command
from tests.support.aws import Aws
from tests.support.histories import HISTORIES, check_facts_match_rows, deliver, record
from tests.support.histories import rebuild_job as job
from tests.support.messages import Json, noise
from tests.support.samples import RECORDS
from tests.support.sampling import examples
from tests.support.tables import execute, lose_rows, outbox
from tests.support.tables import printed_rows as rows

_examples = itertools.count()


@settings(
    max_examples=examples(15, 100),
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(events=HISTORIES, data=st.data())
def test_a_rebuild_gives_the_rows_the_service_wrote(
    aws: Aws, service_environment: dict[str, str], stack: Stack, events: list[Any], data: st.DataObject
) -> None:
    """For any history, delivered in any order: not a byte differs, and the outbox is empty."""
    user, url = f"user-{next(_examples)}", service_environment["DATABASE_URL"]
    records = [
        record(event_type, user, f"{item}-{user}", second, userEmail=... if name == "a" else "alice@example.com")
        for event_type, item, second, name in data.draw(st.permutations(events))
    ]
    unique = {each["messageId"]: each for each in records}
    deliver([*unique.values()], 3)
    live = rows(url)

    assert compare(job(service_environment))[1] == []
    lose_rows(url)
    rebuild(job(service_environment))

    assert rows(url) == live
    assert outbox(url) == []


def test_the_samples_are_rebuilt_by_several_processes(aws: Aws, service_environment: dict[str, str]) -> None:
    """Compressed data, every format and digit, cut texts, facts and unknown types among them; the command says so."""
    url = service_environment["DATABASE_URL"]
    for name in sorted(set(RECORDS) - {"one-good-several-bad"}):
        deliver(RECORDS[name])
    cut = {"date": "2027-01-01T08:00:00Z", "message": "cut \0 \ud83d"}
    deliver([record("reminder:created", "user-a", "item-cut", 1, data=cut)])
    live = rows(url)
    lose_rows(url)

    process = command(service_environment)
    output, errors = process.communicate()

    assert (process.returncode, errors) == (0, "")
    assert " events, 0 of them refused" in output
    assert rows(url) == live
    assert execute(url, "SELECT 1 FROM rebuild_progress") == []
    assert outbox(url) == []


def test_a_rebuild_mends_rows_and_leaves_those_without_events(
    service_environment: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """`--dry-run` and `--verify` name each difference by id and write nothing; a rebuild repairs what it can."""
    url = service_environment["DATABASE_URL"]
    deliver([record("reminder:created", "user-a", f"item-{number}", number) for number in range(4)])
    before = rows(url)
    # What the scheduler has queried, and what subscribers were told, is not in the event store.
    execute(
        url,
        "UPDATE notifications SET due_at = due_at + interval '1 minute', query_missed = NOT query_missed,"
        " queried_at = now(), announced = NULL WHERE item_id <> 'item-3'",
    )
    assert main(["--verify", "--workers", "1"]) == 0
    ids = [id_ for (id_,) in execute(url, "SELECT id::text FROM notifications ORDER BY item_id")]
    execute(url, "DELETE FROM notifications WHERE item_id = 'item-0'")
    execute(url, "UPDATE notifications SET notification_data = '{\"message\": \"secret\"}' WHERE item_id = 'item-1'")
    execute(url, "UPDATE notifications SET created_at = created_at + interval '1 s' WHERE item_id = 'item-2'")
    execute(
        url,
        "INSERT INTO notifications (id, user_id, subject_type, item_id, item_type, deliver_at, notification_data,"
        " decided_by, created_at, updated_at)"
        " SELECT gen_random_uuid(), 'user-x', subject_type, item_id, item_type, deliver_at, notification_data,"
        " decided_by, created_at, updated_at FROM notifications WHERE item_id = 'item-3'",
    )
    ((extra,),) = execute(url, "SELECT id::text FROM notifications WHERE user_id = 'user-x'")
    broken = rows(url)
    capsys.readouterr()

    assert main(["--dry-run", "--workers", "1"]) == 0
    assert main(["--verify", "--workers", "1"]) == 1
    output = capsys.readouterr().out
    for line in (f"1 extra: {extra}", f"1 missing: {ids[0]}", "2 differing: " + " ".join(sorted(ids[1:3]))):
        assert output.count(f"rebuild: {line}") == 2
    assert "secret" not in output
    assert rows(url) == broken

    assert main(["--workers", "1"]) == 0
    assert [row for row in rows(url) if extra not in row[0]] == before
    assert main(["--verify", "--workers", "1"]) == 1


def test_of_many_differences_the_first_are_named(
    service_environment: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """And all are counted."""
    url = service_environment["DATABASE_URL"]
    deliver([record("reminder:created", "user", f"item-{number}", number) for number in range(25)])
    ids = [id_ for (id_,) in execute(url, "SELECT id::text FROM notifications ORDER BY id")]
    lose_rows(url)
    assert main(["--verify", "--workers", "1"]) == 1
    assert f"rebuild: 25 missing: {' '.join(ids[:20])} and 5 more\n" in capsys.readouterr().out


GOOD: Json = {
    "pk": "reminder#item-1",
    "sk": "2026-11-23T12:00:02.000000Z#x",
    "id": "x",
    "eventType": "reminder:updated",
    "userId": "user-a",
    "occurredAt": "2026-11-23T12:00:02.000000Z",
    "eventData": '{"date": "2027-01-01T08:00:00Z"}',
}


GZIP: Json = {"eventDataEncoding": {"S": "gzip"}}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"eventData": '{"message": "no date"}'}, "eventData.date: is missing"),
        ({"id": None}, "id: is missing or not a text"),
        ({"userId": None}, "userId: is missing or not a text"),
        ({"occurredAt": {"N": "5"}}, "occurredAt: is missing or not a text"),
        ({"eventData": None}, "eventData: is missing or cannot be read"),
        ({"eventData": {"B": gzip.compress(b"{}")[:10] + b"\xff"}} | GZIP, "eventData: is missing or cannot be read"),
        ({"eventData": {"B": gzip.compress(b"\xff")}} | GZIP, "eventData: is missing or cannot be read"),
        ({"eventData": "{"}, "eventData: is not a JSON object"),
        ({"eventData": '[{"date": "2027-01-01T08:00:00Z"}]'}, "eventData: is not a JSON object"),
        ({"eventData": "[" * 100_000}, "eventData: is nested deeper than 64 levels"),
        ({"eventData": '{"date": "2027-01-01T08:00:00Z", "n": NaN}'}, "eventData.n: holds NaN"),
        (
            {"eventData": '{"date": "2027-01-01T08:00:00Z", "\\u0000": 1}'},
            "eventData: has a name that holds a NUL character",
        ),
        ({"eventType": "notification:update"}, "eventType: does not agree with the item's key"),
        ({"id": "y"}, "id: together with occurredAt does not agree with the item's key"),
        ({"occurredAt": "2026-11-23T12:00:02Z"}, "occurredAt: is not an instant as the service writes it"),
        ({"occurredAt": "soon"}, "occurredAt: is not an instant as the service writes it"),
        ({"id": "\0", "sk": f"{GOOD['occurredAt']}#\0"}, "PostgreSQL refuses the row"),
        ({"userId": "user\0", "sk": f"{GOOD['occurredAt']}#z", "id": "z"}, "PostgreSQL refuses the row"),
        ({"pk": f"reminder#{noise(2000)}", "userId": noise(2000)}, "PostgreSQL refuses the row"),  # too large to index
    ],
)
def test_a_stored_event_that_would_be_rejected_today_is_counted_and_skipped(
    changes: Json,
    reason: str,
    aws: Aws,
    service_environment: dict[str, str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It is named by its key and reason; the other events of its item decide."""
    url = service_environment["DATABASE_URL"]
    deliver([record("reminder:created", "user-a", "item-1", 1)])
    live = rows(url)
    item = {
        name: {"S": value} if isinstance(value, str) else value
        for name, value in (GOOD | changes).items()
        if value is not None
    }
    aws.dynamodb.put_item(TableName=aws.table, Item=item)
    lose_rows(url)

    progress = rebuild(job(service_environment))

    assert (progress.events, progress.refused) == (2, 1)
    assert f"refused: {item['pk']['S']} {item['sk']['S']}: {reason}" in capsys.readouterr().err
    assert rows(url) == live


def test_a_rebuild_while_the_service_runs_leaves_the_newest_event_deciding(
    aws: Aws, service_environment: dict[str, str], stack: Stack
) -> None:
    """Rebuilds over and over while batches come in: the rows are those of a service left in peace."""
    url = service_environment["DATABASE_URL"]
    records = [
        record(
            ("reminder:created", "reminder:deleted", "reminder:updated")[number % 3],
            "user-a",
            f"item-{number % 7}",
            number,
        )
        for number in range(480)
    ]
    over = threading.Event()
    rebuilds = []

    def keep_rebuilding() -> None:
        while not over.is_set():
            rebuilds.append(rebuild(job(service_environment)))

    rebuilding = threading.Thread(target=keep_rebuilding)
    rebuilding.start()
    try:
        deliver(records[::-1][::2] + records[::2], 10)
    finally:
        over.set()
        rebuilding.join()

    assert len(rebuilds) > 1
    during = rows(url)
    check_facts_match_rows(aws, url)
    lose_rows(url)
    rebuild(job(service_environment))
    assert rows(url) == during
    assert outbox(url) == []


def test_an_event_whose_row_postgresql_refuses_leaves_the_one_before(
    aws: Aws, service_environment: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """As the live service did."""
    url = service_environment["DATABASE_URL"]
    deliver([record("reminder:created", "user", "item", 1), record("reminder:created", "user", "other", 1)])
    live = rows(url)
    execute(url, "ALTER TABLE notifications ADD CHECK (notification_data ->> 'message' <> '2')")
    refused = record("reminder:updated", "user", "item", 2)
    with contextlib.redirect_stdout(io.StringIO()):
        assert lambda_handler({"Records": [refused]}, None)["batchItemFailures"]
    lose_rows(url)
    progress = rebuild(job(service_environment))
    assert (progress.refused, rows(url)) == (1, live)
    place = f"reminder#item 2026-11-23T12:00:02.000000Z#{refused['messageId']}"
    assert f"rebuild: refused: {place}: PostgreSQL refuses the row" in capsys.readouterr().err
