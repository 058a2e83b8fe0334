"""The migrations as a custom resource of CloudFormation, and the function's role in PostgreSQL."""

import http.server
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from event_service.migrate import role
from event_service.migrate.role import grant
from event_service.operations import deployment
from event_service.operations.handler import lambda_handler
from local.stack import Stack, create_database
from tests.support.proxies.tls import make_certificate, tls_before

CAPTURES = Path(__file__).parents[2] / "captures"
USER, PASSWORD = "deployed_function", "correct horse"


@pytest.fixture
def restricted(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection of the function's own role."""
    with psycopg.connect(database_url, autocommit=True) as master:
        grant(master, USER, PASSWORD)
        grant(master, USER, PASSWORD)
        with psycopg.connect(database_url, autocommit=True) as connection:
            connection.execute(f"SET SESSION AUTHORIZATION {USER}")
            yield connection
        master.execute(f"DROP OWNED BY {USER}, notification_reader")


def test_the_role_calls_the_two_functions(restricted: psycopg.Connection[Any]) -> None:
    """They work on tables that it has no right to."""
    assert restricted.execute("SELECT * FROM apply_events('[]')").fetchall() == []
    assert restricted.execute("SELECT * FROM acknowledge_facts('[]', 10)").fetchall() == []


@pytest.mark.parametrize(
    "table", ["notifications", "outbox", "rebuild_facts", "rebuild_progress", '"notification"', "schema_migrations"]
)
def test_the_role_reads_and_changes_no_table(restricted: psycopg.Connection[Any], table: str) -> None:
    """Not even the view."""
    for statement in (f"SELECT * FROM {table}", f"DELETE FROM {table}"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            restricted.execute(statement)


def test_the_password_is_kept_as_a_verifier(database_url: str) -> None:
    """Made by the client: no statement has the password in it."""
    with psycopg.connect(database_url, autocommit=True) as master:
        grant(master, USER, PASSWORD)
        row = master.execute("SELECT rolpassword FROM pg_authid WHERE rolname = %s", (USER,)).fetchone()
        assert row is not None
        assert row[0].startswith("SCRAM-SHA-256$")
        master.execute(f"DROP OWNED BY {USER}, notification_reader")


@pytest.fixture
def answers() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """An address that takes answers as CloudFormation's does, and the answers."""
    taken: list[dict[str, Any]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            taken.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/", taken
        server.shutdown()


def invocation(seconds: float = 300) -> SimpleNamespace:
    """The context of an invocation that has this time left."""
    return SimpleNamespace(get_remaining_time_in_millis=lambda: seconds * 1000)


def request(kind: str, url: str) -> dict[str, Any]:
    return {"RequestType": kind, "ResponseURL": url, "StackId": "s", "RequestId": "r", "LogicalResourceId": "l"}


def test_creation_update_and_deletion_are_answered(
    stack: Stack, answers: tuple[str, list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second request finds nothing to do, and a deletion does not need the database."""
    url, taken = answers
    monkeypatch.setenv("DATABASE_URL", create_database(stack, "custom_resource"))
    lambda_handler(request("Create", url), invocation())
    lambda_handler(request("Update", url), invocation())
    monkeypatch.setenv("DATABASE_URL", "postgresql://nowhere.invalid/")
    lambda_handler(request("Delete", url), invocation())
    assert [answer["Status"] for answer in taken] == ["SUCCESS"] * 3
    assert "0001_notifications.sql" in taken[0]["Data"]["Applied"]
    assert [answer["Data"]["Applied"] for answer in taken[1:]] == ["", ""]


def test_deployments_at_once_are_all_answered(
    stack: Stack, answers: tuple[str, list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of them does the work, with the role too; the others wait for it and find nothing left to do."""
    url, taken = answers
    database = create_database(stack, "at_once")
    monkeypatch.setenv("DATABASE_URL", database)
    monkeypatch.setenv("DATABASE_ROLE_SECRET_ARN", "arn")  # with a DATABASE_URL no secret is read
    monkeypatch.setattr(role, "connection_parameters", lambda *_: {"user": USER, "password": PASSWORD})
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda _: lambda_handler(request("Create", url), invocation()), range(4)))
    assert [answer["Status"] for answer in taken] == ["SUCCESS"] * 4
    assert sorted(bool(answer["Data"]["Applied"]) for answer in taken) == [False, False, False, True]
    with psycopg.connect(database, autocommit=True) as master:
        master.execute(f"DROP OWNED BY {USER}, notification_reader")


def test_a_failing_migration_is_answered_with_its_reason(
    stack: Stack, answers: tuple[str, list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As PostgreSQL words it, without the password."""
    url, taken = answers
    database = create_database(stack, "in_the_way")
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("CREATE TABLE notifications ()")
    monkeypatch.setenv("DATABASE_URL", make_conninfo(database, password="s3cret"))
    lambda_handler(request("Create", url), invocation())
    assert taken[0]["Status"] == "FAILED"
    assert taken[0]["Reason"] == '42P07: relation "notifications" already exists'
    assert "s3cret" not in json.dumps(taken)


def test_the_original_services_table_fails_the_deployment_with_what_to_do(
    stack: Stack, answers: tuple[str, list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same text as the command's."""
    url, taken = answers
    database = create_database(stack, "original_in_the_way")
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute((CAPTURES / "notification.typeorm-ddl.sql").read_bytes())
    monkeypatch.setenv("DATABASE_URL", database)
    lambda_handler(request("Create", url), invocation())
    assert taken[0]["Status"] == "FAILED"
    assert 'ALTER TABLE "notification" RENAME TO "notification_original"' in taken[0]["Reason"]


def test_a_deployment_waits_for_its_secret_and_its_database(
    stack: Stack,
    answers: tuple[str, list[dict[str, Any]]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The first one comes when neither can be reached yet; the log says what it waits for."""
    url, taken = answers
    certificate = make_certificate(tmp_path, "localhost")
    monkeypatch.setenv("DATABASE_CERTIFICATES", str(certificate))
    monkeypatch.setattr(deployment, "_PAUSE_SECONDS", 0.1)
    server = int(stack.database_url.rpartition(":")[2].partition("/")[0])
    with tls_before(server, certificate) as port, ThreadPoolExecutor() as pool:
        settings = {"SECRET_ARN": "late", "HOST": "localhost", "PORT": str(port), "NAME": "late"}
        for name, value in settings.items():
            monkeypatch.setenv(f"DATABASE_{name}", value)
        monkeypatch.delenv("DATABASE_URL")
        migrating = pool.submit(lambda_handler, request("Create", url), invocation(60))
        waited_for = ""

        def wait_for(reason: str) -> None:
            nonlocal waited_for
            while reason not in waited_for:
                assert not migrating.done()
                time.sleep(0.05)
                waited_for += capsys.readouterr().out

        wait_for("the secret of the database cannot be read: ResourceNotFoundException")
        secret = json.dumps({"username": "postgres", "password": "any"})
        stack.client("secretsmanager").create_secret(Name="late", SecretString=secret)
        wait_for("does not exist")
        database = create_database(stack, "late")
        migrating.result()
    assert [answer["Status"] for answer in taken] == ["SUCCESS"]
    assert "0001_notifications.sql" in taken[0]["Data"]["Applied"]
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT to_regclass('notifications') IS NOT NULL").fetchone() == (True,)


def test_a_deployment_whose_database_stays_away_fails_in_time(
    answers: tuple[str, list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It answers with the last reason while the invocation has time to do so."""
    url, taken = answers
    monkeypatch.setenv("DATABASE_URL", "postgresql://user@127.0.0.1:1/nowhere")
    monkeypatch.setattr(deployment, "_PAUSE_SECONDS", 0.2)
    started = time.monotonic()
    lambda_handler(request("Create", url), invocation(deployment._RESERVE_SECONDS + 2))
    assert 2 <= time.monotonic() - started < 4
    assert taken[0]["Status"] == "FAILED"
    assert "Connection refused" in taken[0]["Reason"]


def test_what_does_not_pass_fails_the_deployment_at_once(
    stack: Stack, answers: tuple[str, list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not wait for somebody to remove the table that is in the way."""
    url, taken = answers
    database = create_database(stack, "at_once_refused")
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("CREATE TABLE outbox ()")
    monkeypatch.setenv("DATABASE_URL", database)
    monkeypatch.setattr(time, "sleep", lambda _: pytest.fail("it waited"))
    lambda_handler(request("Create", url), invocation())
    assert taken[0]["Reason"] == '42P07: relation "outbox" already exists'
