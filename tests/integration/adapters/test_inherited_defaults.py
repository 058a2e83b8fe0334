"""The service relies on no default of the server, the database, the role or the environment."""

import contextlib
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from event_service.adapters.postgres import connect
from event_service.adapters.postgres_errors import DatabaseRefused
from event_service.config import DatabaseSettings
from event_service.migrate.schema import migrate
from local.stack import Stack
from tests.integration.adapters.service_database import no_secrets
from tests.support.aws import Aws, function_environment
from tests.support.messages import native, note, raw
from tests.support.world import World

INPUT = Path(__file__).parents[2] / "inputs" / "encoding-batch.json"
DEFAULTS = {
    "client_encoding": "LATIN1",
    "timezone": "Asia/Kolkata",
    "datestyle": "German, DMY",
    "default_transaction_isolation": "serializable",
    "default_transaction_read_only": "on",
    "extra_float_digits": "-15",
    "lock_timeout": "1ms",
    "search_path": "elsewhere",
    "statement_timeout": "1ms",
    "synchronous_commit": "off",
    "transaction_timeout": "1s",
}
OBSERVER = "-c search_path=public -c timezone=UTC -c client_encoding=UTF8 -c datestyle=ISO -c statement_timeout=0"


def change_defaults(url: str, owner: str, names: list[str]) -> None:
    """Change defaults of a database or a role."""
    with psycopg.connect(url, autocommit=True, options="-c default_transaction_read_only=off") as connection:
        for name in names:
            connection.execute(f"ALTER {owner} SET {name} = '{DEFAULTS[name]}'".encode())


def reminder(name: str) -> dict[str, Any]:
    """A reminder with text that LATIN1 does not have, and an offset in its date."""
    data = {"date": "2027-01-02T03:04:05.678901+05:30", "message": "größer 😀 日本語"}
    return raw(native(id=name, itemId=name, eventData=data))


def assert_served(world: World) -> None:
    """Assert that a delivery is stored and applied as everywhere else."""
    world.accept(reminder("one"), raw(native(id="two", itemId="two", eventType="reminder:deleted")))
    world.accept(reminder("one"))
    with psycopg.connect(world.database_url, options=OBSERVER) as observer:
        rows = observer.execute(
            "SELECT deliver_at::text, notification_data ->> 'message' FROM notifications WHERE item_id = 'one'"
        ).fetchall()
    assert rows == [("2027-01-01 21:34:05.678901+00", "größer 😀 日本語")]
    (fact,) = world.published()
    assert fact.body["eventData"]["deliverAt"] == "2027-01-01T21:34:05.678901Z"
    assert fact.body["eventData"]["notificationData"]["message"] == "größer 😀 日本語"


@pytest.mark.parametrize("names", [[name] for name in DEFAULTS] + [[*DEFAULTS]], ids=[*DEFAULTS, "all of them"])
def test_defaults_of_the_database_change_nothing(world: World, database_url: str, names: list[str]) -> None:
    change_defaults(database_url, f"DATABASE {database_url.rpartition('/')[2]}", names)
    assert_served(world)


def test_a_new_connection_has_inherited_none_of_them(database_url: str) -> None:
    """Also those that matter only to a statement that takes long."""
    change_defaults(database_url, f"DATABASE {database_url.rpartition('/')[2]}", [*DEFAULTS])
    with connect(DatabaseSettings(url=database_url), no_secrets) as connection:
        inherited = connection.execute(
            "SELECT name FROM pg_settings WHERE lower(name) = ANY(%s) AND source <> 'session'", ([*DEFAULTS],)
        ).fetchall()
    assert inherited == [("client_encoding",)]  # sent when connecting


def test_defaults_of_the_role_change_nothing(
    stack: Stack, aws: Aws, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    role = f"role_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(stack.database_url, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {role} LOGIN SUPERUSER".encode())
    change_defaults(database_url, f"ROLE {role}", [*DEFAULTS])
    url = database_url.replace("postgres@", f"{role}@")
    for name, value in function_environment(stack, aws, url).items():
        monkeypatch.setenv(name, value)
    world = World(aws, database_url)
    assert_served(world)
    world.close()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PGCLIENTENCODING", "LATIN1"),
        ("PGTZ", "Asia/Kolkata"),
        ("PGDATESTYLE", "German"),
        ("PGOPTIONS", "-c default_transaction_isolation=serializable -c statement_timeout=1"),
    ],
)
def test_variables_of_libpq_change_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    world.invoke([raw(note("{}"))])
    with contextlib.ExitStack() as stop:
        stop.callback(monkeypatch.undo)
        answer = world.invoke([reminder("one")])
        assert answer.failed == set(), answer.lines
    assert world.row()["notification_data"]["message"] == "größer 😀 日本語"


@pytest.fixture(params=["LATIN1", "SQL_ASCII", "WIN1252"])
def foreign(request: pytest.FixtureRequest, stack: Stack) -> Iterator[tuple[str, str]]:
    """A database with another encoding: its URL, and the encoding."""
    name = f"foreign_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(stack.database_url, autocommit=True) as connection:
        connection.execute(
            f"CREATE DATABASE {name} ENCODING '{request.param}' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0".encode()
        )
        yield stack.database_url.rpartition("/")[0] + "/" + name, request.param
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def test_migrate_refuses_a_database_that_is_not_utf_8_and_names_its_encoding(foreign: tuple[str, str]) -> None:
    url, encoding = foreign
    with pytest.raises(Exception, match=encoding):
        migrate(DatabaseSettings(url=url))


def test_connecting_refuses_it_too(foreign: tuple[str, str]) -> None:
    url, encoding = foreign
    with pytest.raises(DatabaseRefused, match=f"{encoding}.*UTF8"):
        connect(DatabaseSettings(url=url), no_secrets)


def test_the_function_says_so_and_stores_what_needs_no_row(
    foreign: tuple[str, str], stack: Stack, aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, encoding = foreign
    for name, value in function_environment(stack, aws, url).items():
        monkeypatch.setenv(name, value)
    records = json.loads(INPUT.read_text())["Records"]
    world = World(aws, url)
    answer = world.invoke(records, milliseconds_left=3000)
    assert answer.failed == {"m-emoji", "m-plain"}
    for record in records[:2]:
        (entry,) = answer.entries(record)
        assert (entry["reason"], encoding in entry["error"]) == ("notifications", True)
    assert len(world.events()) == 3
    world.close()


def test_the_reported_batch_passes_on_a_utf_8_database(world: World, stack: Stack, aws: Aws) -> None:
    world.accept(*json.loads(INPUT.read_text())["Records"])
    assert len(world.rows()) == 2
