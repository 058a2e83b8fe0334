import os
import subprocess
import sys

import psycopg
import pytest

from event_service.config import DatabaseSettings
from event_service.migrate.schema import migrate
from local.stack import Stack, create_database

ALL = [
    "0001_notifications.sql",
    "0002_outbox.sql",
    "0003_scheduler_queries.sql",
    "0004_apply_events.sql",
    "0005_acknowledge_facts.sql",
    "0006_merge_notifications.sql",
    "0007_privileges.sql",
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


def test_the_command_says_what_is_wrong() -> None:
    """Without settings and without a database alike, on standard error and with status 1."""
    command = [sys.executable, "-m", "event_service.migrate"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("DATABASE_")}
    for settings, reason in (({}, "DATABASE_URL"), ({"DATABASE_URL": "postgresql://u@127.0.0.1:1/d"}, "refused")):
        result = subprocess.run(command, env=environment | settings, capture_output=True, text=True, timeout=60)  # noqa: PLW1510
        assert result.returncode == 2
        assert result.stderr.startswith("migrate: ")
        assert reason in result.stderr
