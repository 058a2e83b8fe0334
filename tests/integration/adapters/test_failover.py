import json
from collections.abc import Callable, Iterator
from pathlib import Path

import botocore.session
import psycopg
import pytest

from event_service.adapters.aws import make_client
from event_service.adapters.postgres import Database
from event_service.config import DatabaseSettings
from event_service.deadline import Deadline
from event_service.errors import Unavailable
from local.stack import Postgres, Stack, running_postgres
from tests.integration.adapters.service_database import database_at, database_with
from tests.support.proxies.stream import Breaks, breaking_proxy
from tests.support.proxies.tls import make_certificate, tls_before

ACCESS = "host all postgres 127.0.0.1/32 trust\nhost all app 127.0.0.1/32 scram-sha-256\n"


@pytest.fixture(scope="module")
def postgres(server_directories: Callable[[], Path]) -> Iterator[Postgres]:
    """A separate server, with a user that has a password."""
    with running_postgres(server_directories() / "postgres", ACCESS) as server:
        execute(server, "CREATE ROLE app LOGIN PASSWORD 'one'")
        yield server


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    return make_certificate(tmp_path, "localhost")


def execute(server: Postgres, statement: str) -> None:
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute(statement.encode())


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2].partition("/")[0])


def one(database: Database) -> int:
    return int(database.query("SELECT 1", (), Deadline.after(20))[0][0])


def test_a_restarted_server_costs_one_retry(postgres: Postgres) -> None:
    """The statement that finds the connection dead runs on a new one."""
    database = database_at(postgres.url)
    assert one(database) == 1
    postgres.restart()
    assert one(database) == 1


def test_a_server_at_another_address_is_found(postgres: Postgres, stack: Stack) -> None:
    """A failover moves the name to another server, and the old one is gone."""
    with breaking_proxy(postgres.url, Breaks()) as name:
        database = database_at(name.url)
        assert one(database) == 1
        name.upstream = stack.database_url
        postgres.restart()
        assert one(database) == 1
        port = database.query("SELECT setting FROM pg_settings WHERE name = 'port'", (), Deadline.after(20))
        assert port == [(str(port_of(stack.database_url)),)]


def test_a_rotated_password_costs_no_batch(postgres: Postgres, stack: Stack, certificate: Path) -> None:
    """Over TLS as with RDS: the open connection keeps working, and a new one uses the new password."""
    secrets = make_client(botocore.session.get_session(), "secretsmanager")
    secret = json.dumps({"username": "app", "password": "one"})
    arn = secrets.create_secret(Name="rotated", SecretString=secret)["ARN"]
    with tls_before(port_of(postgres.url), certificate) as port:
        settings = DatabaseSettings(
            secret_arn=arn, host="localhost", port=port, name="postgres", certificates=str(certificate)
        )
        database = database_with(settings, lambda: secrets)
        assert one(database) == 1
        execute(postgres, "ALTER ROLE app PASSWORD 'two'")
        secrets.put_secret_value(SecretId=arn, SecretString=secret.replace("one", "two"))
        assert one(database) == 1
        execute(postgres, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app'")
        assert one(database) == 1


def test_a_server_with_another_certificate_is_not_trusted(
    postgres: Postgres, certificate: Path, tmp_path: Path
) -> None:
    """Neither one of another authority nor one for another host is trusted, and without TLS no connection is made."""

    class Secrets:
        def get_secret_value(self, SecretId: str) -> dict[str, str]:  # noqa: N803  # boto's name
            return {"SecretString": f'{{"username": "{SecretId}", "password": "one"}}'}

    def connect(port: int, certificates: str = str(certificate)) -> None:
        settings = DatabaseSettings(
            secret_arn="app", host="localhost", port=port, name="postgres", certificates=certificates
        )
        database_with(settings, Secrets).query("SELECT 1", (), Deadline.after(20))

    other_host, other_authority = make_certificate(tmp_path, "example.com"), tmp_path / "other"
    other_authority.mkdir()
    for server, trusted, reason in (
        (other_host, other_host, "does not match the host name: set DATABASE_HOST to"),
        (make_certificate(other_authority, "localhost"), certificate, "does not vouch for the database; see docs/dep"),
    ):
        with tls_before(port_of(postgres.url), server) as port, pytest.raises(Unavailable, match=reason):
            connect(port, str(trusted))
    with pytest.raises(Unavailable, match="SSL"):
        connect(port_of(postgres.url))
    with (
        tls_before(port_of(postgres.url), certificate) as port,
        pytest.raises(Unavailable, match=r"rds-global-bundle.pem \(af-south-1, .*il-central-1.* see docs/deploying.md"),
    ):
        connect(port, certificates="")
