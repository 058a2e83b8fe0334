"""The migrations as a CloudFormation custom resource, and the function's role in PostgreSQL."""

import http.server
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from event_service.migrate import deployment
from event_service.migrate.deployment import grant, lambda_handler
from local.stack import Stack, create_database

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
    """Which work on tables that it has no right to."""
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


def request(kind: str, url: str) -> dict[str, Any]:
    return {"RequestType": kind, "ResponseURL": url, "StackId": "s", "RequestId": "r", "LogicalResourceId": "l"}


def test_creation_update_and_deletion_are_answered(
    stack: Stack, answers: tuple[str, list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second time there is nothing to do; a deletion needs no database."""
    url, taken = answers
    monkeypatch.setenv("DATABASE_URL", create_database(stack, "custom_resource"))
    lambda_handler(request("Create", url), None)
    lambda_handler(request("Update", url), None)
    monkeypatch.setenv("DATABASE_URL", "postgresql://nowhere.invalid/")
    lambda_handler(request("Delete", url), None)
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
    monkeypatch.setattr(deployment, "connection_parameters", lambda *_: {"user": USER, "password": PASSWORD})
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda _: lambda_handler(request("Create", url), None), range(4)))
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
    lambda_handler(request("Create", url), None)
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
    lambda_handler(request("Create", url), None)
    assert taken[0]["Status"] == "FAILED"
    assert 'ALTER TABLE "notification" RENAME TO "notification_original"' in taken[0]["Reason"]
