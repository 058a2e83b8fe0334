"""The notification-scheduler's connection to a database that accepts TLS only, and what its role may do there."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from event_service.config import DatabaseSettings
from event_service.migrate.role import grant, grant_view
from event_service.migrate.schema import migrate
from local.stack import running_postgres
from tests.support.proxies.tls import make_certificate, tls_before
from tests.support.scheduler import QUERY

MANUAL = (Path(__file__).parents[2] / "docs" / "deploying.md").read_text()
ACCESS = "host all postgres 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
COUNT = re.sub("SELECT .* FROM", 'SELECT COUNT(DISTINCT("Notification"."id")) AS "cnt" FROM', QUERY)
DUE = "2026-11-23T07:08:00.000+00:00"
NOTIFICATION = """
    INSERT INTO notifications (id, user_id, subject_type, item_id, item_type, deliver_at, due_at, notification_data,
                               decided_by, created_at, updated_at)
    VALUES (gen_random_uuid(), 'user-a', 'reminder', 'item-1', 'reminder', %(due)s, %(due)s, '{"message": "x"}',
            (%(due)s, 'create', 'e', 's'), now(), now())
"""
OURS = "'public'::regnamespace"
CHANGES = "INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER"


@dataclass(frozen=True)
class Server:
    """A migrated database behind TLS, and the certificate that vouches for it."""

    port: int
    certificate: Path

    def connect(self, user: str, **parameters: str) -> psycopg.Connection:
        """Connect with TLS verified, unless the parameters say otherwise."""
        given = {"host": "localhost", "sslmode": "verify-full", "sslrootcert": str(self.certificate)} | parameters
        return psycopg.connect(
            make_conninfo(port=self.port, dbname="events", user=user, password="third", **given), autocommit=True
        )


@pytest.fixture(scope="module")
def server(server_directories: Callable[[], Path]) -> Iterator[Server]:
    """A server whose master is not a superuser, as with RDS. It has a notification, and two roles for the scheduler."""
    directory = server_directories()
    certificate = make_certificate(directory, "localhost")
    with running_postgres(directory / "postgres", ACCESS) as postgres:
        with psycopg.connect(postgres.url, autocommit=True) as superuser:
            superuser.execute(b"CREATE ROLE master LOGIN CREATEROLE PASSWORD 'first'")
            superuser.execute(b"CREATE DATABASE events OWNER master")
        owner_url = make_conninfo(postgres.url, user="master", password="first", dbname="events")
        migrate(DatabaseSettings(url=owner_url))
        with psycopg.connect(owner_url) as owner:
            owner.execute(NOTIFICATION, {"due": DUE})
            for _ in range(2):
                grant(owner, "event_service", "second")
                grant_view(owner, "notification_scheduler", "third")
            (by_hand,) = re.findall(r"```sql\n(.*?)```", MANUAL, re.DOTALL)
            owner.execute(by_hand.replace("'...'", "'third'").encode())
        with tls_before(int(conninfo_to_dict(postgres.url)["port"] or 0), certificate) as port:
            yield Server(port, certificate)


@pytest.fixture(params=["notification_scheduler", "scheduler"], ids=["by the deployment", "by hand"])
def role(request: pytest.FixtureRequest) -> str:
    """The scheduler's role, as the deployment creates it and as the manual does."""
    return str(request.param)


@pytest.mark.parametrize("mode", ["require", "verify-full"])
def test_the_schedulers_queries_work_over_tls(server: Server, role: str, mode: str) -> None:
    """They find what is due, and how much of it."""
    with server.connect(role, sslmode=mode) as connection:
        cursor = psycopg.RawCursor(connection)
        (row,) = cursor.execute(QUERY.encode(), [DUE]).fetchall()
        assert "item-1" in row
        assert cursor.execute(COUNT.encode(), [DUE]).fetchall() == [(1,)]


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [({"sslmode": "disable"}, "no encryption"), ({"host": "127.0.0.1"}, "does not match host name")],
)
def test_a_connection_without_tls_or_under_another_name_is_refused(
    server: Server, parameters: dict[str, str], reason: str
) -> None:
    """As by RDS."""
    with pytest.raises(psycopg.OperationalError, match=reason):
        server.connect("scheduler", **parameters)


def test_a_server_of_another_authority_is_refused(server: Server, tmp_path: Path) -> None:
    """Although it has the right name."""
    with pytest.raises(psycopg.OperationalError, match="certificate verify failed"):
        server.connect("scheduler", sslrootcert=str(make_certificate(tmp_path, "localhost")))


def test_the_schedulers_role_reads_the_view_and_nothing_else(server: Server, role: str) -> None:
    """It has no right to change anything, to call a function or to create anything."""
    relations = f"SELECT relname FROM pg_class WHERE relnamespace = {OURS} AND relkind IN ('r', 'v', 'm', 'p', 'S')"
    functions = f"SELECT proname FROM pg_proc WHERE pronamespace = {OURS}"
    with server.connect(role) as connection:

        def found(statement: str) -> list[tuple[str]]:
            return connection.execute(statement.encode()).fetchall()

        assert {("notification",), ("notifications",), ("outbox",)} < {*found(relations)}
        assert found(f"{relations} AND has_table_privilege(oid, 'SELECT')") == [("notification",)]
        assert found(f"{relations} AND has_any_column_privilege(oid, 'SELECT')") == [("notification",)]
        assert found(f"{relations} AND has_table_privilege(oid, '{CHANGES}')") == []
        assert ("apply_events",) in found(functions)
        assert found(f"{functions} AND has_function_privilege(oid, 'EXECUTE')") == []


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM notifications",
        "SELECT * FROM outbox",
        "SELECT * FROM apply_events('[]')",
        "SELECT service_clock()",
        """UPDATE "notification" SET "itemType" = ''""",
        'DELETE FROM "notification"',
        "CREATE TABLE mine ()",
        "CREATE SCHEMA mine",
    ],
)
def test_anything_but_reading_the_view_is_refused(server: Server, role: str, statement: str) -> None:
    """By PostgreSQL, whatever the catalogues say."""
    with server.connect(role) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(statement.encode())
