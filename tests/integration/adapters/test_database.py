import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import botocore.session
import psycopg
import pytest
from moto import mock_aws

from event_service.adapters import postgres as database_module
from event_service.adapters.aws import make_client
from event_service.adapters.batching import EntryRefused
from event_service.adapters.postgres import Database, connection_parameters
from event_service.config import DatabaseSettings
from event_service.deadline import Deadline
from event_service.errors import Unavailable
from tests.integration.adapters.service_database import database_at, database_with


@pytest.fixture
def database(database_url: str) -> Database:
    return database_at(database_url)


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A server that accepts connections and never answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


def query(database: Database, statement: str, seconds: float = 20) -> list[tuple[Any, ...]]:
    return database.query(statement, (), Deadline.after(seconds))


def backend(database: Database) -> int:
    return int(query(database, "SELECT pg_backend_pid()")[0][0])


def test_the_connection_is_kept_between_statements(database: Database) -> None:
    """One connection for an execution environment, with no transaction left open."""
    assert backend(database) == backend(database)
    assert query(database, "SELECT state FROM pg_stat_activity WHERE pid = pg_backend_pid()") == [("active",)]


def test_a_connection_killed_by_the_server_is_replaced(database: Database, database_url: str) -> None:
    """The statement that finds out is run on the new one."""
    first = backend(database)
    with psycopg.connect(database_url) as other:
        other.execute("SELECT pg_terminate_backend(%s)", (first,))
    assert backend(database) != first


def test_a_statement_that_does_not_end_is_given_up_at_the_deadline(database: Database) -> None:
    """And the connection with it; the next statement has a new one."""
    first = backend(database)
    started = time.monotonic()
    with pytest.raises(Unavailable) as caught:
        query(database, "SELECT pg_sleep(30)", seconds=1)
    assert caught.value.retryable
    assert time.monotonic() - started < 3
    assert backend(database) != first


def test_a_server_that_never_answers_costs_bounded_time(silent_port: int) -> None:
    """The limit on connecting is ours."""
    database = database_at(f"postgresql://u@127.0.0.1:{silent_port}/d")
    started = time.monotonic()
    with pytest.raises(Unavailable) as caught:
        query(database, "SELECT 1")
    assert (caught.value.reason, caught.value.retryable) == ("notifications", True)
    assert time.monotonic() - started < 10


def test_several_addresses_share_what_is_left_of_the_invocation(silent_port: int) -> None:
    """The driver's limit holds for each of them; the deadline holds for all together."""
    hosts, ports = ",".join(["127.0.0.1"] * 5), ",".join([str(silent_port)] * 5)
    database = database_at(f"postgresql://u@/d?host={hosts}&port={ports}")
    started = time.monotonic()
    with pytest.raises(Unavailable, match="no connection in time"):
        query(database, "SELECT 1", seconds=1)
    assert time.monotonic() - started < 2


def test_a_secret_that_is_not_answered_costs_no_more_than_is_left() -> None:
    """Reading it is part of connecting."""

    class Secrets:
        def get_secret_value(self, **_: str) -> None:
            time.sleep(3)

    settings = DatabaseSettings(secret_arn="arn", host="localhost", name="events")
    started = time.monotonic()
    with pytest.raises(Unavailable, match="no connection in time"):
        query(database_with(settings, Secrets), "SELECT 1", seconds=0.5)
    assert time.monotonic() - started < 2


def test_a_connection_that_comes_too_late_is_closed(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing else would close it, and the server has few."""
    real, opened = database_module.connect, []

    def connect(*arguments: Any) -> Any:
        time.sleep(0.5)
        opened.append(real(*arguments))
        return opened[0]

    monkeypatch.setattr(database_module, "connect", connect)
    with pytest.raises(Unavailable, match="no connection in time"):
        query(database_at(database_url), "SELECT 1", seconds=0.1)
    waited_until = time.monotonic() + 20
    while not (opened and opened[0].closed):
        assert time.monotonic() < waited_until
        time.sleep(0.02)


def test_a_refused_statement_leaves_the_connection_as_it_is(database: Database) -> None:
    """The statement fails; the connection is kept."""
    first = backend(database)
    with pytest.raises(EntryRefused, match=r"^DivisionByZero \(22012\)$") as caught:
        query(database, "SELECT 1 / 0")
    assert not caught.value.error.retryable
    assert backend(database) == first


def test_a_refused_statement_is_described_without_its_values(database: Database) -> None:
    """PostgreSQL's own message quotes them."""
    with pytest.raises(EntryRefused, match=r"^InvalidTextRepresentation \(22P02\)$"):
        query(database, "SELECT 'alice@example.com'::integer")


def test_a_deadlock_can_be_tried_again(database: Database) -> None:
    """No row is to blame for it, so the rows are not searched for one that is."""
    with pytest.raises(Unavailable, match=r"^DeadlockDetected \(40P01\)$") as caught:
        query(database, "DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '40P01'; END $$")
    assert caught.value.retryable


def test_a_lock_that_another_session_holds_is_the_fault_of_one_row(database: Database) -> None:
    """So the rows are tried in halves; the locked one can be tried again."""
    with pytest.raises(EntryRefused, match=r"^a lock is held by another session$") as caught:
        query(database, "DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '55P03'; END $$")
    assert caught.value.error.retryable


@pytest.mark.parametrize("state", ["28000", "3D000", "42501", "42883"])
def test_a_misconfigured_database_is_not_tried_again_at_once(database: Database, state: str) -> None:
    """And no row is searched for: wrong credentials, database, privileges or a missing function fail every one."""
    with pytest.raises(Unavailable, match=rf"\({state}\)") as caught:
        query(database, f"DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '{state}'; END $$")
    assert not caught.value.retryable


def test_a_session_does_not_depend_on_the_defaults_of_its_database(database: Database, database_url: str) -> None:
    """Only what differs is set: each SET pins the connection of an RDS Proxy."""
    settings = {"TimeZone": "Asia/Tokyo", "default_transaction_isolation": "serializable", "synchronous_commit": "off"}
    with psycopg.connect(database_url, autocommit=True) as other:
        for name, value in settings.items():
            other.execute(f"ALTER DATABASE {other.info.dbname} SET {name} = '{value}'".encode())
    names = ("TimeZone", "default_transaction_isolation", "synchronous_commit")
    values = ", ".join(f"current_setting('{name}')" for name in names)
    assert query(database, f"SELECT {values}") == [("UTC", "read committed", "on")]


def test_a_writer_that_became_a_reader_is_left(database: Database) -> None:
    """After a failover the old address may still answer, read-only; the statement is run on a new connection."""
    first = backend(database)
    query(database, "SELECT set_config('default_transaction_read_only', 'on', false)")
    assert query(database, "INSERT INTO schema_migrations (name) VALUES ('x') RETURNING name") == [("x",)]
    assert backend(database) != first


def test_no_statement_is_prepared_by_name(database: Database) -> None:
    """Behind an RDS Proxy that would pin the connection."""
    for _ in range(10):
        query(database, "SELECT 1")
    assert query(database, "SELECT count(*) FROM pg_prepared_statements") == [(0,)]


def test_user_and_password_come_from_the_secret_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """So a rotated password is found; the certificate of the server is verified."""
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    with mock_aws():
        client = make_client(botocore.session.get_session(), "secretsmanager")
        arn = client.create_secret(Name="db", SecretString=json.dumps({"username": "app", "password": "one"}))["ARN"]
        settings = DatabaseSettings(secret_arn=arn, host="db.example.com", port=6432, name="events")
        parameters = connection_parameters(settings, lambda: client)
        client.put_secret_value(SecretId=arn, SecretString=json.dumps({"username": "app", "password": "two"}))
        assert connection_parameters(settings, lambda: client)["password"] == "two"
    assert parameters["password"] == "one"
    assert parameters["sslmode"] == "verify-full"
    with open(parameters["sslrootcert"]) as bundle:
        assert bundle.read().count("BEGIN CERTIFICATE") > 80


def test_a_secret_that_cannot_be_read_is_a_lost_database(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error does not show what the secret holds."""
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    with mock_aws():
        client = make_client(botocore.session.get_session(), "secretsmanager")
        arn = client.create_secret(Name="db", SecretString='{"user": "hunter2"}')["ARN"]
        for secret_arn, reason in ((arn, "KeyError"), (arn.replace("db", "other"), "ResourceNotFoundException")):
            settings = DatabaseSettings(secret_arn=secret_arn, host="h", name="n")
            with pytest.raises(psycopg.OperationalError, match=r"secret of the database cannot be read") as caught:
                connection_parameters(settings, lambda: client)
            assert "hunter2" not in str(caught.value)
            assert reason in str(caught.value)
