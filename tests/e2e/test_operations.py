"""Commands with --stack: the deployed operations function runs them, slice by slice."""

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import psycopg
import pytest

from event_service import remote
from event_service.adapters.upkeep import BUSY, exclusive_connection
from event_service.cli import secrets_client
from event_service.config import DatabaseSettings
from event_service.forget.__main__ import main as forget
from event_service.migrate.__main__ import main as migrate
from event_service.rebuild import __main__ as rebuilding
from event_service.rebuild.progress import RebuildJob
from event_service.rebuild.rebuild import rebuild
from local.deployment import Deployment, deploy
from local.stack import Stack, create_database
from tests.support.histories import history, seed
from tests.support.proxies.http import HttpHandler
from tests.support.proxies.script import Fault, Script
from tests.support.proxies.server import running_server
from tests.support.sampling import FULL
from tests.support.tables import count_notifications, execute, printed_rows

NAME = "operations"
EVENTS = 100_000 if FULL else 6_000
ITEMS = EVENTS // 10


@pytest.fixture(scope="module")
def operated(stack: Stack, built: Path) -> tuple[str, Deployment]:
    """A stack with stored events and an empty table of notifications: its database, and its outputs."""
    url = create_database(stack, NAME)
    deployment = deploy(stack, {"DatabaseUrl": url}, name=NAME, directory=built)
    seed(stack.endpoint_url, deployment["EventStoreTableName"], history(EVENTS, ITEMS))
    return url, deployment


@pytest.fixture(autouse=True)
def nothing_but_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """A person's machine knows neither the table nor the database."""
    for name in ("DATABASE_URL", "EVENT_STORE_TABLE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def log(stack: Stack, operated: tuple[str, Deployment]) -> Callable[[], list[str]]:
    """The lines that the function has logged during the test."""
    since = int(time.time() * 1000)

    def read() -> list[str]:
        pages = (
            stack.client("logs")
            .get_paginator("filter_log_events")
            .paginate(logGroupName=operated[1]["OperationsLogGroupName"], startTime=since)
        )
        return [str(event["message"]) for page in pages for event in page["events"]]

    return read


def invocations(log: Callable[[], list[str]]) -> list[int]:
    """The exit statuses of the commands in the function's log."""
    return [json.loads(line)["status"] for line in log() if line.startswith('{"command"')]


def limit(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    monkeypatch.setattr(rebuilding, "drive", partial(remote.drive, longest=seconds))


def test_a_rebuild_takes_several_invocations_and_makes_the_same_rows(
    stack: Stack,
    operated: tuple[str, Deployment],
    log: Callable[[], list[str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As one next to the database would; `--restart` begins again once, not in every invocation; nothing differs."""
    url, deployment = operated
    elsewhere = create_database(stack, "rebuilt_elsewhere")
    monkeypatch.setenv("DATABASE_URL", elsewhere)
    assert migrate([]) == 0
    monkeypatch.delenv("DATABASE_URL")
    rebuild(RebuildJob(DatabaseSettings(url=elsewhere), deployment["EventStoreTableName"]))
    execute(url, "TRUNCATE notifications")

    limit(monkeypatch, 10 if FULL else 0)  # 0: a page at a time
    started = time.monotonic()
    assert rebuilding.main(["--stack", NAME, "--restart"]) == 0
    seconds = time.monotonic() - started

    statuses = invocations(log)
    assert len(statuses) >= 3
    assert statuses == [75] * (len(statuses) - 1) + [0]
    output = capsys.readouterr().out
    print(f"{EVENTS:,} events in {len(statuses)} invocations and {seconds:.1f} s")
    assert f"rebuild: {EVENTS:,} events, 0 of them refused" in output
    assert printed_rows(url) == printed_rows(elsewhere)
    assert len(printed_rows(url)) == ITEMS


def test_a_comparison_takes_several_invocations_and_fails_like_the_command(
    operated: tuple[str, Deployment],
    log: Callable[[], list[str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Exit status 1 and the difference's id; the copy of the rows is gone in the end."""
    url, _ = operated
    limit(monkeypatch, 10 if FULL else 0)  # 0: a page at a time
    if not count_notifications(url):
        assert rebuilding.main(["--stack", NAME]) == 0
    execute(url, "DELETE FROM notifications WHERE item_id LIKE '%1'")
    execute(url, "UPDATE notifications SET user_email = 'another' WHERE item_id LIKE '%2'")
    capsys.readouterr()
    assert rebuilding.main(["--stack", NAME, "--verify"]) == 1
    assert 75 in invocations(log)
    output = capsys.readouterr().out
    assert f"rebuild: {ITEMS // 10:,} missing: " in output
    assert f"rebuild: {ITEMS // 10:,} differing: " in output
    assert execute(url, "SELECT to_regclass('rebuild_shadow')::text") == [(None,)]


def test_an_erasure_asks_here_and_is_done_there(
    operated: tuple[str, Deployment],
    log: Callable[[], list[str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Unless it is confirmed, nothing is invoked; the function's log does not name the person."""
    url, _ = operated
    monkeypatch.setattr("builtins.input", lambda _: "user-4")
    assert forget(["--stack", NAME, "--user", "user-3"]) == 2
    assert invocations(log) == []
    monkeypatch.setattr("builtins.input", lambda _: "user-3")
    assert forget(["--stack", NAME, "--user", "user-3"]) == 0
    assert f"left: 0 of {EVENTS // ITEMS * (ITEMS // 1000 or 1):,} events" in capsys.readouterr().out
    assert forget(["--stack", NAME, "--user", "user-3", "--dry-run"]) == 0
    assert invocations(log) == [0, 0]
    assert "user-3" not in "".join(log())
    assert execute(url, "SELECT 1 FROM notifications WHERE user_id = 'user-3' AND user_email IS NOT NULL") == []


def test_a_lost_answer_is_asked_for_again(
    stack: Stack,
    operated: tuple[str, Deployment],
    log: Callable[[], list[str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The function had done the work; doing it again changes nothing."""
    script = Script(Fault("drop the answer", 1))
    with running_server(HttpHandler, stack.endpoint_url, lambda: script) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", proxy.url)
        assert migrate(["--stack", NAME]) == 0
    assert invocations(log) == [0, 0]
    output = capsys.readouterr()
    assert output.out == "the schema is up to date\n"
    assert "migrate: no answer, asking again: " in output.err


def test_a_command_waits_for_one_that_an_interrupted_caller_left_running(
    operated: tuple[str, Deployment],
    log: Callable[[], list[str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """That one ends within its time; one that lasts longer is refused as it is without --stack."""
    monkeypatch.setattr(remote, "_GRACE_SECONDS", 30)
    with ThreadPoolExecutor() as pool:
        with exclusive_connection(DatabaseSettings(url=operated[0]), secrets_client):
            waiting = pool.submit(forget, ["--stack", NAME, "--user", "nobody", "--yes"])
            while not invocations(log):
                time.sleep(0.1)
        assert waiting.result() == 0
    assert invocations(log)[0] == 2
    monkeypatch.setattr(remote, "_GRACE_SECONDS", 0)
    limit(monkeypatch, 1)
    with exclusive_connection(DatabaseSettings(url=operated[0]), secrets_client):
        capsys.readouterr()
        assert rebuilding.main(["--stack", NAME]) == 2
    assert capsys.readouterr().err == f"rebuild: {BUSY}\n"


def test_the_schema_is_checked_without_changing_it(
    operated: tuple[str, Deployment], capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit status 1 names what is missing."""
    url, _ = operated
    assert migrate(["--stack", NAME, "--check"]) == 0
    with psycopg.connect(url) as connection:
        (name,) = connection.execute("SELECT max(name) FROM schema_migrations").fetchone() or ("",)
        connection.execute("DELETE FROM schema_migrations WHERE name = %s", (name,))
    assert migrate(["--stack", NAME, "--check"]) == 1
    assert capsys.readouterr().out == f"the schema is up to date\nmissing {name}\n"
    execute(url, "INSERT INTO schema_migrations (name) VALUES (%s)", (name,))
