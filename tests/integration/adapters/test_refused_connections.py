"""Each refused connection is reported with PostgreSQL's own reason, and with none of the values in it."""

import json
import re
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from event_service.adapters.batching import EntryRefused
from event_service.deadline import Deadline
from event_service.errors import Unavailable
from local.stack import Stack, free_port, running_postgres
from tests.integration.adapters.service_database import database_at
from tests.support.aws import Aws, function_environment
from tests.support.world import World

INPUT = Path(__file__).parents[2] / "inputs" / "wrong-password.json"
# Values that no reason may quote.
ROLE, DATABASE, PASSWORD = "rolefornobody", "databasefornobody", "passwordfornobody"
ACCESS = (
    "host nossl all 127.0.0.1/32 reject\n"
    "host postgres postgres 127.0.0.1/32 trust\n"
    f"host all {ROLE} 127.0.0.1/32 scram-sha-256\n"
    f"hostssl all {ROLE}tls 127.0.0.1/32 trust\n"
    "host all limited,missing,free 127.0.0.1/32 trust\n"
)


@pytest.fixture(scope="module")
def address(server_directories: Callable[[], Path]) -> Iterator[str]:
    """Host and port of a server that refuses connections for every reason."""
    with running_postgres(server_directories() / "refusing", ACCESS) as postgres:
        with psycopg.connect(postgres.url, autocommit=True) as connection:
            connection.execute(f"CREATE ROLE {ROLE} LOGIN PASSWORD 'right'".encode())
            connection.execute(b"CREATE ROLE free LOGIN")
            connection.execute(b"CREATE ROLE limited LOGIN CONNECTION LIMIT 0")
            connection.execute(b"CREATE DATABASE closed ALLOW_CONNECTIONS false")
            connection.execute(b"CREATE DATABASE nossl")
        yield postgres.url.partition("@")[2].partition("/")[0]


CASES = {
    "wrong password": (f"{ROLE}:{PASSWORD}@{{}}/postgres", "password authentication failed"),
    "no such database": (f"free@{{}}/{DATABASE}", "does not exist"),
    "no such role": ("missing@{}/postgres", "role … does not exist"),
    "not in pg_hba.conf": ("stranger@{}/postgres", "no pg_hba.conf entry"),
    "rejected by pg_hba.conf": ("limited@{}/nossl", "pg_hba.conf rejects connection"),
    "too many connections": ("limited@{}/postgres", "too many connections"),
    "not accepting connections": ("free@{}/closed", "not currently accepting connections"),
    "no TLS on the server": ("limited@{}/postgres?sslmode=require", "SSL"),
    "TLS demanded by the server": (f"{ROLE}tls@{{}}/postgres", "no pg_hba.conf entry.*no encryption"),
}


def reason(url: str) -> str:
    """Why a query on this database fails."""
    with pytest.raises((Unavailable, EntryRefused)) as caught:
        database_at(url).query("SELECT 1", (), Deadline.after(10))
    return str(caught.value)


def assert_no_value(text: str, url: str) -> None:
    """Nothing of a URL is quoted."""
    for value in re.split(r"[:@/?]+", url.removeprefix("postgresql://")):
        if len(value) > 4 and value != "limited" and not value.startswith("sslmode"):
            assert value not in text
    assert "limited" not in text
    assert "127.0.0.1" not in text


@pytest.mark.parametrize("case", CASES)
def test_a_refused_connection_says_why_without_any_value(address: str, case: str) -> None:
    target, expected = CASES[case]
    url = "postgresql://" + target.format(address)
    text = reason(url)
    assert re.search(expected, text), text
    assert_no_value(text.replace("postgres", "") if "postgres@" not in url else text, url.replace("/postgres", "/"))


def test_all_reasons_are_different(address: str) -> None:
    """Except for TLS: PostgreSQL treats an entry for TLS only as a missing entry for other connections."""
    cases = {name: target for name, (target, _) in CASES.items() if name != "TLS demanded by the server"}
    reasons = {name: reason("postgresql://" + target.format(address)) for name, target in cases.items()}
    assert len(set(reasons.values())) == len(cases), reasons


def test_when_nothing_listens_the_connection_is_refused() -> None:
    url = f"postgresql://someone@127.0.0.1:{free_port()}/somewhere"
    text = reason(url)
    assert "refused" in text
    assert_no_value(text, url)


def test_a_host_that_does_not_exist_is_not_quoted() -> None:
    url = "postgresql://someone@host-of-nobody.invalid/somewhere"
    text = reason(url)
    assert "resolve" in text or "known" in text or "name" in text.lower()
    assert_no_value(text, url)


def test_a_server_that_does_not_answer_is_reported_as_such() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        url = f"postgresql://someone@127.0.0.1:{server.getsockname()[1]}/somewhere"
        text = reason(url)
    assert "time" in text
    assert_no_value(text, url)


def test_a_server_that_hangs_up_is_reported_as_such() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        url = f"postgresql://someone@127.0.0.1:{server.getsockname()[1]}/somewhere"

        def hang_up() -> None:
            connection, _ = server.accept()
            connection.recv(8)
            connection.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        text = reason(url)
        thread.join()
    assert "closed the connection" in text, text
    assert_no_value(text, url)


FOREIGN = [
    # https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/rds-proxy.troubleshooting.html
    (f"This RDS proxy has no credentials for the role {ROLE}.", "credentials for the role …"),
    (f"no such database: {DATABASE}", "no such database: …"),
    (f"Passwort-Authentifizierung für Benutzer »{ROLE}« fehlgeschlagen", "fehlgeschlagen"),
    (f"authentification par mot de passe échouée pour l'utilisateur « {ROLE} »", "authentification"),
]


@pytest.mark.parametrize(("refusal", "expected"), FOREIGN)
def test_what_a_proxy_or_a_server_of_another_language_quotes_differently_is_removed(
    refusal: str, expected: str
) -> None:
    fields = b"SFATAL\0VFATAL\0C28000\0M" + refusal.encode() + b"\0\0"
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        url = f"postgresql://{ROLE}:{PASSWORD}@127.0.0.1:{server.getsockname()[1]}/{DATABASE}?sslmode=disable"

        def refuse() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"E" + (len(fields) + 4).to_bytes(4) + fields)

        thread = threading.Thread(target=refuse)
        thread.start()
        text = reason(url)
        thread.join()
    assert expected in text
    assert_no_value(text, url)


def test_the_functions_log_has_the_reason(
    stack: Stack, aws: Aws, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the line of every record that needed PostgreSQL."""
    url = f"postgresql://{ROLE}:{PASSWORD}@{address}/postgres"
    for name, value in function_environment(stack, aws, url).items():
        monkeypatch.setenv(name, value)
    records = json.loads(INPUT.read_text())["Records"]
    answer = World(aws, url).invoke(records, milliseconds_left=3000)
    (entry,) = answer.entries(records[0])
    assert entry["reason"] == "notifications"
    assert "password authentication failed" in entry["error"]
    assert_no_value("".join(answer.lines), f"postgresql://{ROLE}:{PASSWORD}@127.0.0.1")
