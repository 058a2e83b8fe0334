"""The notifications made from the event store alone: the rows the live service wrote, whatever happens meanwhile."""

import contextlib
import gzip
import io
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psycopg
import pytest
from botocore.exceptions import ClientError, ConnectionClosedError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from event_service.adapters.data_plane import DynamoDb
from event_service.domain.event import notification_id
from event_service.handler import lambda_handler
from event_service.merging import event_of
from event_service.rebuild.__main__ import main
from event_service.rebuild.rebuild import compare, rebuild
from local.stack import Stack, create_database
from tests.support.aws import Aws
from tests.support.histories import HISTORIES, check_facts_match_rows, deliver, history, record, seed
from tests.support.histories import rebuild_job as job
from tests.support.messages import Json
from tests.support.samples import RECORDS
from tests.support.sampling import examples
from tests.support.tables import execute, lose_rows, outbox
from tests.support.tables import printed_rows as rows

ROOT = Path(__file__).parents[3]
STORED = 8_000  # several pages of a scan in each of two segments
_examples = itertools.count()


def command(environment: dict[str, str], *options: str) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-m", "event_service.rebuild", "--workers", "2", "--segments", "2", *options]
    return subprocess.Popen(
        arguments, env=os.environ | environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


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
    """Of any history, delivered in any order: not a byte differs, and there is no fact in the outbox."""
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
    """Compressed data, every format and digit, facts and unknown types among them; and the command says so."""
    url = service_environment["DATABASE_URL"]
    for name in sorted(set(RECORDS) - {"one-good-several-bad"}):
        deliver(RECORDS[name])
    live = rows(url)
    lose_rows(url)

    process = command(service_environment)
    output, errors = process.communicate()

    assert (process.returncode, errors) == (0, "")
    assert " events, 0 of them refused" in output
    assert rows(url) == live
    assert execute(url, "SELECT FROM rebuild_progress") == []
    assert outbox(url) == []


def test_a_rebuild_mends_rows_and_leaves_those_nobody_accounts_for(
    service_environment: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """`--dry-run` and `--verify` name each difference by id and write nothing; a rebuild mends what it can."""
    url = service_environment["DATABASE_URL"]
    deliver([record("reminder:created", "user-a", f"item-{number}", number) for number in range(4)])
    before = rows(url)
    assert main(["--verify", "--workers", "1"]) == 0
    ids = [id_ for (id_,) in execute(url, "SELECT id::text FROM notifications ORDER BY item_id")]
    execute(url, "DELETE FROM notifications WHERE item_id = 'item-0'")
    execute(url, "UPDATE notifications SET notification_data = '{\"message\": \"secret\"}' WHERE item_id = 'item-1'")
    execute(url, "UPDATE notifications SET created_at = created_at + interval '1 s' WHERE item_id = 'item-2'")
    execute(
        url,
        "INSERT INTO notifications SELECT gen_random_uuid(), 'user-x', item_id, user_email, item_type, deliver_at,"
        " notification_data, event_id, event_pk, created_at, updated_at FROM notifications WHERE item_id = 'item-3'",
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
        ({"id": None}, "id: is missing or no text"),
        ({"userId": None}, "userId: is missing or no text"),
        ({"occurredAt": {"N": "5"}}, "occurredAt: is missing or no text"),
        ({"eventData": None}, "eventData: is missing or cannot be read"),
        ({"eventData": {"B": gzip.compress(b"{}")[:10] + b"\xff"}} | GZIP, "eventData: is missing or cannot be read"),
        ({"eventData": {"B": gzip.compress(b"\xff")}} | GZIP, "eventData: is missing or cannot be read"),
        ({"eventData": "{"}, "eventData: is no JSON object"),
        ({"eventData": '[{"date": "2027-01-01T08:00:00Z"}]'}, "eventData: is no JSON object"),
        ({"eventData": "[" * 100_000}, "eventData: is nested deeper than 64 levels"),
        ({"eventData": '{"date": "2027-01-01T08:00:00Z", "n": NaN}'}, "eventData.n: holds NaN"),
        ({"eventData": '{"date": "2027-01-01T08:00:00Z", "m": "\\u0000"}'}, "eventData.m: holds a NUL character"),
        ({"eventType": "notification:update"}, "eventType: does not agree with the item's key"),
        ({"id": "y"}, "id: with occurredAt does not agree with the item's key"),
        ({"occurredAt": "2026-11-23T12:00:02Z"}, "occurredAt: is not an instant as this service writes it"),
        ({"occurredAt": "soon"}, "occurredAt: is not an instant as this service writes it"),
        ({"id": "\0", "sk": f"{GOOD['occurredAt']}#\0"}, "PostgreSQL refuses the row"),
        ({"userId": "user\0", "sk": f"{GOOD['occurredAt']}#z", "id": "z"}, "PostgreSQL refuses the row"),
    ],
)
def test_what_todays_code_rejects_is_counted_and_no_obstacle(
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
    assert f"refused: {GOOD['pk']} {item['sk']['S']}: {reason}" in capsys.readouterr().err
    assert rows(url) == live


def test_the_newest_event_wins_while_the_service_runs(
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


def test_a_killed_rebuild_goes_on_where_it_was(aws: Aws, service_environment: dict[str, str], stack: Stack) -> None:
    """With SIGKILL in the middle, its workers end too, and the next run scans only what was left."""
    url = service_environment["DATABASE_URL"]
    seed(stack.endpoint_url, aws.table, history(STORED, STORED // 10))
    last = aws.dynamodb.scan(TableName=aws.table, Segment=1, TotalSegments=2)
    while "LastEvaluatedKey" in last:
        last = aws.dynamodb.scan(
            TableName=aws.table, Segment=1, TotalSegments=2, ExclusiveStartKey=last["LastEvaluatedKey"]
        )
    event = event_of(last["Items"][-1])
    with psycopg.connect(url, autocommit=True) as watching, psycopg.connect(url) as holding:
        # So that it cannot get to its end: its last page waits for what becomes of this row.
        holding.execute(
            "INSERT INTO notifications SELECT %s, %s, %s, NULL, '-', NULL, '{}', '-', '-', now(), now(), now()",
            (notification_id(event.user_id, "reminder", event.item_id), event.user_id, event.item_id),
        )
        process = command(service_environment)
        while not watching.execute("SELECT FROM rebuild_progress WHERE scanned > 0").rowcount:
            assert process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.communicate()
        holding.rollback()
        others = (
            "SELECT FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'event-service'"
        )
        while watching.execute(others).rowcount:
            time.sleep(0.05)
    ((scanned,),) = execute(url, "SELECT sum(scanned)::int FROM rebuild_progress")
    assert 0 < scanned < STORED

    progress = rebuild(job(service_environment, workers=2, segments=7))

    assert progress.scanned == STORED  # each page once: what was done before counts
    assert execute(url, "SELECT count(*) FROM notifications") == [(STORED // 10,)]
    assert compare(job(service_environment))[1] == []


def test_a_rebuild_whose_rows_are_gone_begins_anew(aws: Aws, service_environment: dict[str, str]) -> None:
    """One was broken off, and the table emptied since."""
    url = service_environment["DATABASE_URL"]
    deliver([record("reminder:created", "user", f"item-{number}", number) for number in range(10)])
    lose_rows(url)
    execute(
        url,
        "INSERT INTO rebuild_progress (target, source, segment, done)"
        " SELECT 'notifications', %s, generate_series(0, 1), true",
        (aws.table,),
    )
    assert rebuild(job(service_environment)).events == 10
    assert execute(url, "SELECT count(*) FROM notifications") == [(10,)]


def test_a_rebuild_whose_table_was_emptied_and_filled_again_begins_anew(
    aws: Aws, service_environment: dict[str, str]
) -> None:
    """The running service had a first new row in it before the rebuild was started again."""
    url = service_environment["DATABASE_URL"]
    deliver([record("reminder:created", "user", f"item-{number}", number) for number in range(10)])
    execute(
        url,
        "INSERT INTO rebuild_progress (target, source, segment, done, relation)"
        " SELECT 'notifications', %s, segment, segment = 0, pg_relation_filenode('notifications')"
        " FROM generate_series(0, 1) AS segment",
        (aws.table,),
    )
    lose_rows(url)
    deliver([record("reminder:created", "user", "new", 20)])
    assert rebuild(job(service_environment)).events == 11
    assert execute(url, "SELECT count(*) FROM notifications") == [(11,)]


def test_a_rebuild_goes_on_unless_it_is_told_not_to(
    aws: Aws, service_environment: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """What is done is not done again, and it says so; `--restart` does it again; and nothing goes on from an end."""
    url = service_environment["DATABASE_URL"]
    deliver([record("reminder:created", "user", f"item-{number}", number) for number in range(40)])
    begun = (
        "INSERT INTO rebuild_progress (target, source, segment, done, relation)"
        " SELECT 'notifications', %s, segment, segment < %s, pg_relation_filenode('notifications')"
        " FROM generate_series(0, 1) AS segment"
    )
    seen = []
    for done, restart in ((1, False), (1, True), (2, False)):
        execute(url, begun, (aws.table, done))
        seen.append(rebuild(job(service_environment, restart=restart)).events)
        assert ("going on with the one begun at" in capsys.readouterr().out) == (len(seen) == 1)
    assert seen[0] < 40
    assert seen[1:] == [40, 40]


def test_ctrl_c_ends_a_rebuild_after_the_page_it_is_at(
    aws: Aws, service_environment: dict[str, str], stack: Stack
) -> None:
    """It does not scan its segments to the end first, and the next run goes on."""
    seed(stack.endpoint_url, aws.table, history(STORED, STORED // 10))
    url = service_environment["DATABASE_URL"]
    with psycopg.connect(url) as holding:
        holding.execute("LOCK TABLE notifications IN SHARE ROW EXCLUSIVE MODE")
        # Tests that a shell started in the background ignore the signal, and so would what they start.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        process = command(service_environment)
        signal.signal(signal.SIGINT, before)
        waiting = "SELECT FROM pg_locks WHERE relation = 'notifications'::regclass AND NOT granted"
        while holding.execute(waiting).rowcount < 2:  # each worker with its first page
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert (process.returncode, errors) == (130, "rebuild: broken off; the same command goes on\n")
    assert execute(url, "SELECT bool_or(done), sum(scanned) > 0 FROM rebuild_progress") == [(False, True)]
    assert rebuild(job(service_environment)).scanned == STORED


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


def test_a_scan_that_fails_for_a_while_goes_on(
    aws: Aws, service_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Throttling, outages and lost connections pass; nothing is scanned twice."""
    failures: list[Exception] = [
        ClientError({"Error": {"Code": "ProvisionedThroughputExceededException"}}, "Scan"),
        ClientError({"Error": {}, "ResponseMetadata": {"HTTPStatusCode": 503}}, "Scan"),  # type: ignore[typeddict-item]
        ConnectionClosedError(endpoint_url="https://dynamodb.invalid"),
    ]
    scan = DynamoDb.scan

    def failing(client: DynamoDb, **request: Any) -> Any:
        if failures:
            raise failures.pop()
        return scan(client, **request)

    monkeypatch.setattr(DynamoDb, "scan", failing)
    deliver([record("reminder:created", "user", "item", 1)])
    before = rows(service_environment["DATABASE_URL"])
    progress = rebuild(job(service_environment))
    assert (progress.events, rows(service_environment["DATABASE_URL"])) == (1, before)
    assert capsys.readouterr().err.count("trying again") == 3


def test_a_scan_that_is_refused_is_given_up(
    aws: Aws, service_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What another attempt cannot mend is said at once."""

    def refused(client: DynamoDb, **request: Any) -> Any:
        raise ClientError({"Error": {"Code": "AccessDeniedException"}}, "Scan")

    monkeypatch.setattr(DynamoDb, "scan", refused)
    assert main(["--workers", "1"]) == 2
    assert "rebuild: Scan: AccessDeniedException" in capsys.readouterr().err


def test_two_rebuilds_at_once_are_refused(
    service_environment: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """The second one says why, and does nothing."""
    with psycopg.connect(service_environment["DATABASE_URL"]) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", (0x65767472,))
        assert main(["--workers", "1"]) == 2
    assert capsys.readouterr().err == "rebuild: another rebuild or erasure is running\n"


@pytest.mark.parametrize(
    ("variable", "value", "reason"),
    [
        ("EVENT_STORE_TABLE", "", "EVENT_STORE_TABLE is not set"),
        ("DATABASE_URL", "", "DATABASE_SECRET_ARN is not set, and neither is DATABASE_URL"),
        ("DATABASE_URL", "nonsense://user:hunter2@", "DATABASE_URL is no libpq URL"),
        ("EVENT_STORE_TABLE", "no-such-table", "DescribeTable: ResourceNotFoundException"),
    ],
)
def test_what_is_missing_is_said_in_one_line(
    variable: str,
    value: str,
    reason: str,
    service_environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With its name, without the password, and with an exit status of its own."""
    monkeypatch.setenv(variable, value)
    assert main(["--workers", "1"]) == 2
    errors = capsys.readouterr().err
    assert reason in errors
    assert errors.count("\n") == 1
    assert "hunter2" not in errors


def test_a_database_without_the_migrations_is_named(
    stack: Stack,
    service_environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The hint says what to run."""
    monkeypatch.setenv("DATABASE_URL", create_database(stack, "unmigrated"))
    assert main(["--workers", "1"]) == 2
    assert "python -m event_service.migrate" in capsys.readouterr().err
