"""A rebuild that was interrupted continues where it stopped, or begins again if that would be wrong."""

import json
import signal
import time
from typing import Any

import psycopg
import pytest
from botocore.exceptions import ClientError
from urllib3.exceptions import ProtocolError

from event_service.adapters.data_plane import DynamoDb
from event_service.adapters.event_items import event_of
from event_service.domain.event import notification_id
from event_service.rebuild.__main__ import main
from event_service.rebuild.rebuild import compare, rebuild
from local.stack import Stack
from tests.integration.commands.rebuilds import command
from tests.support.aws import Aws
from tests.support.histories import deliver, history, record, seed
from tests.support.histories import rebuild_job as job
from tests.support.tables import execute, lose_rows
from tests.support.tables import printed_rows as rows

STORED = 8_000  # several pages of a scan in each of two segments

# An interrupted rebuild has scanned for all facts, and for the events of as many of the two segments.
HALF_DONE = (
    "INSERT INTO rebuild_progress (target, phase, source, segment, done, events, relation)"
    " SELECT 'notifications', phase, %s, segment, phase = 'facts' OR segment < %s, (phase = 'events')::int,"
    " pg_relation_filenode('notifications')"
    " FROM unnest(ARRAY['facts', 'events']) AS phase, generate_series(0, 1) AS segment"
)


def test_a_killed_rebuild_is_continued_by_the_next_run(
    aws: Aws, service_environment: dict[str, str], stack: Stack
) -> None:
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
            "INSERT INTO notifications (id, user_id, subject_type, item_id, item_type, notification_data, decided_by,"
            " created_at, updated_at, deleted_at)"
            " SELECT %s, %s, 'reminder', %s, '-', '{}', ROW(now(), 'delete', '-', '-')::precedence, now(), now(),"
            " now()",
            (notification_id(event.user_id, "reminder", event.item_id), event.user_id, event.item_id),
        )
        process = command(service_environment)
        while not watching.execute("SELECT FROM rebuild_progress WHERE phase = 'events' AND scanned > 0").rowcount:
            assert process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.communicate()
        holding.rollback()
        others = (
            "SELECT FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'event-service'"
        )
        while watching.execute(others).rowcount:
            time.sleep(0.05)
    ((scanned,),) = execute(url, "SELECT sum(scanned)::int FROM rebuild_progress WHERE phase = 'events'")
    assert 0 < scanned < STORED

    progress = rebuild(job(service_environment, workers=2, segments=7))

    assert progress.scanned == STORED  # each page once: what was done before counts
    assert execute(url, "SELECT count(*) FROM notifications") == [(STORED // 10,)]
    assert compare(job(service_environment))[1] == []


def test_a_rebuild_whose_rows_are_gone_starts_again(aws: Aws, service_environment: dict[str, str]) -> None:
    """One was interrupted, and the table was emptied since."""
    url = service_environment["DATABASE_URL"]
    deliver([record("reminder:created", "user", f"item-{number}", number) for number in range(10)])
    lose_rows(url)
    execute(url, HALF_DONE, (aws.table, 1))
    assert rebuild(job(service_environment)).events == 10
    assert execute(url, "SELECT count(*) FROM notifications") == [(10,)]


def test_a_rebuild_whose_table_was_emptied_and_filled_again_starts_again(
    aws: Aws, service_environment: dict[str, str]
) -> None:
    """The running service had a first new row in it before the rebuild was started again."""
    url = service_environment["DATABASE_URL"]
    deliver([record("reminder:created", "user", f"item-{number}", number) for number in range(10)])
    execute(url, HALF_DONE, (aws.table, 1))
    lose_rows(url)
    deliver([record("reminder:created", "user", "new", 20)])
    assert rebuild(job(service_environment)).events == 11
    assert execute(url, "SELECT count(*) FROM notifications") == [(11,)]


def test_a_rebuild_is_continued_unless_restart_is_given(
    aws: Aws, service_environment: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """It says so and skips finished segments; `--restart` scans them again; a finished rebuild is not continued."""
    url = service_environment["DATABASE_URL"]
    deliver([record("reminder:created", "user", f"item-{number}", number) for number in range(40)])
    seen = []
    for done, restart in ((1, False), (1, True), (2, False)):
        execute(url, HALF_DONE, (aws.table, done))
        seen.append(rebuild(job(service_environment, restart=restart)).events)
        assert ("resuming the one begun at" in capsys.readouterr().out) == (len(seen) == 1)
    assert seen[0] < 40
    assert seen[1:] == [40, 40]


def test_ctrl_c_ends_a_rebuild_after_the_page_it_is_at(
    aws: Aws, service_environment: dict[str, str], stack: Stack
) -> None:
    """It does not scan its segments to the end first, and the next run continues."""
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
    assert (process.returncode, errors) == (130, "rebuild: interrupted; run the same command again to resume\n")
    assert execute(url, "SELECT bool_or(done), sum(scanned) > 0 FROM rebuild_progress WHERE phase = 'events'") == [
        (False, True)
    ]
    assert rebuild(job(service_environment)).scanned == STORED


@pytest.mark.parametrize("mode", [[], ["--verify"]])
def test_a_rebuild_that_is_stopped_again_and_again_gets_to_its_end(
    mode: list[str],
    service_environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Even if it has no rows yet, because it still scans for facts or found no known events."""
    monkeypatch.setattr("event_service.rebuild.rebuild._SHORTEST_WAIT_SECONDS", 0.001)  # about a page each time
    url = service_environment["DATABASE_URL"]
    deliver([record("reminder:created", "user", f"item-{number}", number) for number in range(20)])
    deliver([record("todo:added", "user", f"todo-{number}", number) for number in range(20)])
    before = rows(url)
    if not mode:
        lose_rows(url)
    statuses = [75]
    while statuses[-1] == 75 and len(statuses) < 50:
        statuses.append(main(["--workers=1", "--segments=6", "--seconds=0", *mode]))
    assert statuses[-1] == 0
    assert len(statuses) > 3
    assert rows(url) == before
    assert "rebuild: 20 events, 0 of them refused" in capsys.readouterr().out


def test_a_scan_that_fails_for_a_while_is_retried(
    aws: Aws, service_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Throttling, outages and lost connections pass; nothing is scanned twice."""
    failures: list[Exception] = [
        ClientError({"Error": {"Code": "ProvisionedThroughputExceededException"}}, "Scan"),
        ClientError({"Error": {}, "ResponseMetadata": {"HTTPStatusCode": 503}}, "Scan"),  # type: ignore[typeddict-item]
        ProtocolError("connection closed"),
        json.JSONDecodeError("cut off", '{"Items": [', 11),
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
    assert capsys.readouterr().err.count("trying again") == 4
