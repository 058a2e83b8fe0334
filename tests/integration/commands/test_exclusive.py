"""Commands that write notifications run one at a time, also behind a pooler."""

import contextlib
import time
from collections.abc import Sequence

import psycopg
import pytest

from event_service.adapters import upkeep
from event_service.adapters.postgres import connect
from event_service.adapters.upkeep import exclusive_connection
from event_service.cli import secrets_client
from event_service.config import DatabaseSettings
from event_service.errors import CommandError
from event_service.forget.__main__ import main as forget
from event_service.rebuild.__main__ import main as rebuild
from tests.support.tables import execute

LOCK = 0x65767472
REFUSED = "another rebuild or erasure is running"
# The holders of an advisory lock, and the states of their sessions.
HOLDERS = (
    "SELECT a.pid, a.state FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid)"
    " WHERE l.locktype = 'advisory' AND l.granted AND a.datname = current_database()"
)


def test_the_second_is_refused_until_the_first_has_ended(database_url: str) -> None:
    """The lock ends with its connection, also if the command fails."""
    settings = DatabaseSettings(url=database_url)

    def fail_after_a_second_command() -> None:
        with exclusive_connection(settings, secrets_client):
            with pytest.raises(CommandError, match=REFUSED), exclusive_connection(settings, secrets_client):
                pass
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_after_a_second_command()
    with exclusive_connection(settings, secrets_client):
        pass
    assert execute(database_url, HOLDERS) == []


@pytest.mark.parametrize("options", [[], ["--dry-run"], ["--verify"]])
def test_no_rebuild_starts_during_an_erasure(
    options: Sequence[str], service_environment: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """A comparison is refused too: it copies everybody's rows."""
    with exclusive_connection(DatabaseSettings(url=service_environment["DATABASE_URL"]), secrets_client):
        assert rebuild(["--workers", "1", *options]) == 2
    assert capsys.readouterr().err == f"rebuild: {REFUSED}\n"


@pytest.mark.parametrize("options", [["--yes"], ["--dry-run"]])
def test_no_erasure_starts_during_a_rebuild(
    options: Sequence[str], service_environment: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Otherwise the rebuild would bring back what it had read before."""
    with exclusive_connection(DatabaseSettings(url=service_environment["DATABASE_URL"]), secrets_client):
        assert forget(["--user", "user-a", *options]) == 2
    assert capsys.readouterr().err == f"forget: {REFUSED}\n"


def test_the_lock_is_held_by_a_transaction_of_another_connection(database_url: str) -> None:
    """A pooler in transaction mode gives a connection away between transactions, with the session's locks."""
    with exclusive_connection(DatabaseSettings(url=database_url), secrets_client) as connection:
        connection.execute("SELECT 1")
        ((holder, state),) = execute(database_url, HOLDERS)
        assert state == "idle in transaction"
        assert holder != connection.info.backend_pid
        # The command's own transactions begin and end without it; its connection does not have the lock.
        with connection.transaction():
            assert connection.execute("SELECT pg_try_advisory_xact_lock(%s)", (LOCK,)).fetchone() == (False,)
        for function in ("pg_try_advisory_lock", "pg_try_advisory_xact_lock"):
            with psycopg.connect(database_url, autocommit=True) as other:
                assert other.execute(f"SELECT {function}({LOCK})".encode()).fetchone() == (False,)
        assert execute(database_url, HOLDERS) == [(holder, "idle in transaction")]


def test_the_lock_ends_while_its_connection_stays_open(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pooler keeps the connection for the next client, who must not inherit the lock."""
    with contextlib.ExitStack() as pooler:
        monkeypatch.setattr(
            upkeep, "connect", lambda *given: contextlib.nullcontext(pooler.enter_context(connect(*given)))
        )
        with exclusive_connection(DatabaseSettings(url=database_url), secrets_client):
            assert len(execute(database_url, HOLDERS)) == 1
        assert execute(database_url, HOLDERS) == []


def test_the_lock_outlives_a_time_limit_on_idle_transactions(database_url: str) -> None:
    """A default of the database, server or role must not end it: it would let a second command in."""
    name = database_url.rpartition("/")[2]
    execute(database_url, f"ALTER DATABASE {name} SET idle_in_transaction_session_timeout = '100ms'")
    settings = DatabaseSettings(url=database_url)
    with exclusive_connection(settings, secrets_client):
        time.sleep(0.5)
        with pytest.raises(CommandError, match=REFUSED), exclusive_connection(settings, secrets_client):
            pass
