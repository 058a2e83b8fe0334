"""The migrate command: what it applies, and what it refuses."""

import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from event_service.config import DatabaseSettings
from event_service.migrate.schema import migrate
from local.stack import Stack, create_database

CAPTURES = Path(__file__).parents[2] / "captures"
ALL = [
    "0001_notifications.sql",
    "0002_outbox.sql",
    "0003_scheduler_queries.sql",
    "0004_apply_events.sql",
    "0005_acknowledge_facts.sql",
    "0006_merge_notifications.sql",
    "0007_privileges.sql",
    "0008_outbox_age.sql",
]


@pytest.fixture
def empty_database_url(stack: Stack, request: pytest.FixtureRequest) -> str:
    return create_database(stack, f"empty_{abs(hash(request.node.nodeid))}")


def test_migrating_applies_what_is_missing_and_nothing_twice(empty_database_url: str) -> None:
    """A second run finds the schema up to date."""
    settings = DatabaseSettings(url=empty_database_url)
    assert migrate(settings) == ALL
    assert migrate(settings) == []


def test_two_at_once_are_harmless(empty_database_url: str) -> None:
    """One does the work, the other waits and finds it done; both succeed."""
    command = [sys.executable, "-m", "event_service.migrate"]
    environment = os.environ | {"DATABASE_URL": empty_database_url}
    processes = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    outputs = sorted(process.communicate(timeout=60)[0] for process in processes)
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert outputs[0] == "".join(f"applied {name}\n" for name in ALL)
    assert outputs[1:] == ["the schema is up to date\n"] * 2


def test_a_failing_migration_leaves_nothing_behind(empty_database_url: str) -> None:
    """All or none: here the second fails, because a table of the same name exists."""
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE outbox ()")
        with pytest.raises(psycopg.errors.DuplicateTable):
            migrate(DatabaseSettings(url=empty_database_url))
        assert connection.execute("SELECT to_regclass('notifications')").fetchone() == (None,)


def run(url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command on a database."""
    return subprocess.run(
        [sys.executable, "-m", "event_service.migrate", *arguments],
        env=os.environ | {"DATABASE_URL": url},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def exists(connection: psycopg.Connection[tuple[object, ...]], relation: str) -> bool:
    return connection.execute("SELECT to_regclass(%s) IS NOT NULL", (relation,)).fetchone() == (True,)


def test_help_does_not_migrate(empty_database_url: str) -> None:
    """It explains the command and leaves the database alone."""
    result = run(empty_database_url, "--help")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("usage: python -m event_service.migrate")
    with psycopg.connect(empty_database_url) as connection:
        assert not exists(connection, "schema_migrations")


def test_the_original_services_table_is_named_with_what_to_do(empty_database_url: str) -> None:
    """Nothing is changed; after doing what the message says, the migration succeeds and the old table is kept."""
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        connection.execute((CAPTURES / "notification.typeorm-ddl.sql").read_bytes())
        refused = run(empty_database_url)
        assert (refused.returncode, refused.stdout) == (2, "")
        assert refused.stderr.startswith('migrate: the table "notification" of the original service has the name')
        assert refused.stderr.count("\n") == 1
        assert not exists(connection, "schema_migrations")

        advice = refused.stderr.partition("(")[2].partition(")")[0]
        connection.execute(advice.encode())
        assert run(empty_database_url).returncode == 0
        assert exists(connection, "notification_original")
        assert connection.execute('SELECT count(*) FROM "notification"').fetchone() == (0,)


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_a_database_that_is_not_in_utf_8_is_refused(stack: Stack, encoding: str) -> None:
    """The message names its encoding, and nothing is created."""
    name = f"encoded_{encoding.lower()}"
    with psycopg.connect(stack.database_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING '{encoding}' LOCALE 'C'".encode())
    url = f"{stack.database_url.rpartition('/')[0]}/{name}"
    result = run(url)
    assert result.returncode == 2
    assert result.stderr == f"migrate: PostgreSQL: the database's encoding is {encoding}; event-service needs UTF8\n"
    with psycopg.connect(url) as connection:
        assert not exists(connection, "schema_migrations")


def test_the_command_says_what_is_wrong() -> None:
    """Without settings and without a database alike, on standard error and with status 2."""
    command = [sys.executable, "-m", "event_service.migrate"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("DATABASE_")}
    for settings, reason in (({}, "DATABASE_URL"), ({"DATABASE_URL": "postgresql://u@127.0.0.1:1/d"}, "refused")):
        result = subprocess.run(command, env=environment | settings, capture_output=True, text=True, timeout=60)  # noqa: PLW1510
        assert result.returncode == 2
        assert result.stderr.startswith("migrate: ")
        assert reason in result.stderr
