"""With the template's timeout of 10 s, short outages are over before the invocation ends, and no reminder is missed."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from local.stack import Stack
from tests.support.aws import Aws, function_environment
from tests.support.messages import Record, native, note, raw
from tests.support.proxies.backends import BackendProxies, proxied_backends
from tests.support.proxies.gate import Gate, gated
from tests.support.proxies.script import Exchange, Script
from tests.support.world import Answer, World

INVOCATION_SECONDS = 10  # the template's function timeout
REMINDERS = 30
AT_ONCE_SECONDS = 2.0


def reminders() -> list[Record]:
    """Reminders that are published now and due in two to three minutes."""
    now = datetime.now(UTC)
    due = now.replace(second=0, microsecond=0) + timedelta(minutes=3)
    sent_at = now.isoformat(timespec="milliseconds")
    return [
        raw(
            native(id=f"event-{n}", itemId=f"item-{n:02}", occurredAt=sent_at, eventData={"date": due.isoformat()}),
            sent=sent_at,
        )
        for n in range(REMINDERS)
    ]


def warm_up(world: World) -> None:
    """Let the function connect and use every backend once."""
    world.accept(raw(native(id="first", itemId="first")))


def invoke(world: World, records: Sequence[Record], seconds: float = INVOCATION_SECONDS) -> tuple[Answer, float]:
    """Invoke the function; return its answer and how long it took."""
    started = time.monotonic()
    answer = world.invoke(records, milliseconds_left=round(seconds * 1000))
    return answer, time.monotonic() - started


def assert_on_time(world: World, answer: Answer, seconds: float) -> None:
    """All reminders were applied within the invocation, each in time for the scheduler's query, and told."""
    assert answer.failed == set(), answer.lines
    assert seconds < INVOCATION_SECONDS
    rows = [row for row in world.rows().values() if row["item_id"] != "first"]
    assert len(rows) == REMINDERS
    assert [row for row in rows if row["due_at"] != row["deliver_at"]] == []
    assert world.outbox() == []
    assert len(world.published()) == REMINDERS + 1


@contextmanager
def later(seconds: float, action: Callable[[], object]) -> Iterator[None]:
    """Do something after some seconds, in the background."""
    timer = threading.Timer(seconds, action)
    timer.start()
    try:
        yield
    finally:
        timer.join()


@contextmanager
def held(url: str, statement: str, seconds: float) -> Iterator[None]:
    """Hold what a statement locks for some seconds, in the background."""
    with psycopg.connect(url) as other:
        other.execute(statement.encode())
        with later(seconds, other.rollback):
            yield


@pytest.fixture
def gate(
    stack: Stack, aws: Aws, service_environment: dict[str, str], database_url: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Gate]:
    """A gate between the function and PostgreSQL."""
    with gated(database_url) as (server, gate):
        monkeypatch.setenv("DATABASE_URL", server.url)
        yield gate


def test_with_postgresql_down_for_3_seconds_no_reminder_is_missed(world: World, gate: Gate) -> None:
    """Its connections break and new ones are refused meanwhile."""
    warm_up(world)
    gate.close_for(3)
    assert_on_time(world, *invoke(world, reminders()))


def test_with_postgresql_refusing_connections_for_3_seconds_no_reminder_is_missed(
    world: World, stack: Stack, database_url: str
) -> None:
    """PostgreSQL ends the connection itself, as in a restart, and says that it does not accept another."""
    warm_up(world)
    name = database_url.rpartition("/")[2]
    with psycopg.connect(stack.database_url, autocommit=True) as operator:
        operator.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false".encode())
        operator.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
        reopen = f"ALTER DATABASE {name} ALLOW_CONNECTIONS true".encode()
        with later(3, lambda: operator.execute(reopen)):
            answer, seconds = invoke(world, reminders())
    world.tables._connection = None  # PostgreSQL has ended the observer's, too
    assert_on_time(world, answer, seconds)


@pytest.mark.parametrize("table", ["notifications", "outbox"])
def test_with_a_table_locked_for_4_seconds_no_reminder_is_missed(world: World, database_url: str, table: str) -> None:
    """As a migration or a vacuum locks it."""
    warm_up(world)
    with held(database_url, f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE", 4):
        answer, seconds = invoke(world, reminders())
    assert_on_time(world, answer, seconds)


def test_with_a_row_locked_for_8_seconds_no_reminder_is_missed_and_free_rows_do_not_wait(
    world: World, database_url: str
) -> None:
    """The other 29 are applied and their facts published at once."""
    warm_up(world)
    records = reminders()
    world.accept(raw(native(id="before", itemId="item-07", occurredAt="2026-11-23T05:00:00Z")))
    world.published()
    world.facts_seen.clear()
    with held(database_url, "SELECT FROM notifications WHERE item_id = 'item-07' FOR UPDATE", 8):
        early: list[int] = []
        with later(AT_ONCE_SECONDS, lambda: early.append(_applied(database_url))):
            answer, seconds = invoke(world, records)
    assert early == [REMINDERS - 1]
    assert answer.failed == set(), answer.lines
    assert 7 < seconds < INVOCATION_SECONDS
    assert _applied(database_url) == REMINDERS
    assert len(world.published()) == REMINDERS


def test_rows_that_are_free_hardly_wait_for_one_that_another_session_inserts(world: World, database_url: str) -> None:
    """An uncommitted insertion cannot be skipped as a locked row can; the others are applied all the same."""
    records = reminders()
    world.accept(records[7])
    with psycopg.connect(database_url) as other:
        other.execute("CREATE TEMPORARY TABLE copy AS SELECT * FROM notifications")
        other.execute("DELETE FROM notifications")
        other.execute("DELETE FROM outbox")
        other.commit()
        columns = ", ".join(
            str(name)
            for (name,) in other.execute(
                "SELECT column_name FROM information_schema.columns"
                " WHERE table_name = 'notifications' AND is_generated = 'NEVER'"
            )
        )
        other.execute(f"INSERT INTO notifications ({columns}) SELECT {columns} FROM copy".encode())
        early: list[int] = []
        with later(AT_ONCE_SECONDS, lambda: early.append(_applied(database_url))), later(4, other.rollback):
            answer, seconds = invoke(world, records)
    assert early == [REMINDERS - 1]
    assert answer.failed == set(), answer.lines
    assert seconds < INVOCATION_SECONDS
    assert _applied(database_url) == REMINDERS


def _applied(url: str) -> int:
    """The number of reminders that the scheduler could read now."""
    with psycopg.connect(url) as observer:
        found = observer.execute(
            "SELECT count(*) FROM notifications WHERE deleted_at IS NULL AND due_at = deliver_at"
            " AND due_at > now() + interval '1 minute' AND due_at < now() + interval '1 hour'"
        ).fetchone()
    assert found
    return int(found[0])


class TroubledScript(Script):
    """Throttles or refuses every request of some backends until a moment."""

    def __init__(self, backends: set[str], mode: str, seconds: float) -> None:
        super().__init__()
        self._backends, self._mode = backends, mode
        self._until = time.monotonic() + seconds

    def play(self, exchange: Exchange[Any]) -> Any:
        """Answer a request."""
        if exchange.request.backend not in self._backends or time.monotonic() > self._until:
            return super().play(exchange)
        if self._mode == "refuse":
            return None
        return exchange.throttle() if self._mode == "throttle" else exchange.error()


@pytest.fixture
def proxies(stack: Stack, aws: Aws, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[BackendProxies]:
    """Proxies before all backends, and the environment that leads through them."""
    with proxied_backends(stack.endpoint_url, database_url) as proxies:
        for name, value in function_environment(stack, aws, proxies.database_url).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxies.endpoint_url)
        yield proxies


@pytest.mark.parametrize("mode", ["throttle", "error", "refuse"])
@pytest.mark.parametrize("backend", ["dynamodb", "sns"])
def test_with_aws_failing_for_3_seconds_no_reminder_is_missed(
    aws: Aws, database_url: str, proxies: BackendProxies, backend: str, mode: str
) -> None:
    """Throttled, answered with an error of the server, or hung up on."""
    world = World(aws, database_url)
    warm_up(world)
    proxies.script = TroubledScript({backend}, mode, 3)
    assert_on_time(world, *invoke(world, reminders()))
    world.close()


def test_with_everything_failing_for_3_seconds_no_reminder_is_missed(
    aws: Aws, database_url: str, proxies: BackendProxies
) -> None:
    """All backends at once."""
    world = World(aws, database_url)
    warm_up(world)
    proxies.script = TroubledScript({"dynamodb", "sns", "postgresql"}, "error", 3)
    assert_on_time(world, *invoke(world, reminders()))
    world.close()


def test_what_needs_no_postgresql_is_stored_at_once(world: World, gate: Gate, aws: Aws) -> None:
    """While the other records of the batch wait for it."""
    warm_up(world)
    gate.close_for(3)
    stored: list[int] = []
    with later(AT_ONCE_SECONDS, lambda: stored.append(aws.dynamodb.scan(TableName=aws.table)["Count"])):
        answer, _ = invoke(world, [*reminders(), raw(note("{}", "stored only"))])
    assert answer.failed == set(), answer.lines
    assert stored == [REMINDERS + 3]  # with the first event and its fact


def test_a_backend_that_stays_down_is_waited_for_once_and_then_briefly(world: World, gate: Gate) -> None:
    """The execution environment remembers what the last batch gave up, until it works again."""
    warm_up(world)
    gate.is_open.clear()
    answer, first = invoke(world, reminders(), 5)
    assert len(answer.failed) == REMINDERS
    assert 4 < first < 5
    answer, second = invoke(world, reminders(), 5)
    assert len(answer.failed) == REMINDERS
    assert second < 3
    gate.is_open.set()
    answer, third = invoke(world, reminders(), 5)
    assert answer.failed == set(), answer.lines
    assert third < AT_ONCE_SECONDS
    gate.is_open.clear()
    answer, fourth = invoke(world, [raw(native(id="again", itemId="again"))], 5)
    assert len(answer.failed) == 1
    assert 4 < fourth < 5
    gate.is_open.set()


def test_after_a_short_outage_a_batch_that_waits_briefly_still_heals(world: World, gate: Gate) -> None:
    """Also a batch that finds the backend given up tries for a moment."""
    warm_up(world)
    gate.is_open.clear()
    assert len(invoke(world, reminders(), 2)[0].failed) == REMINDERS
    gate.close_for(1)
    assert_on_time(world, *invoke(world, reminders()))
