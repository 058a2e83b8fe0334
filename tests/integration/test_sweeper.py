"""§5: the sweeper publishes orphaned facts, even if no batch arrives."""

import json
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest

from event_service.adapters.notifications import Notifications
from event_service.errors import RecordError, Unavailable
from event_service.migrate.role import grant
from event_service.sweeper import lambda_handler
from local.stack import Stack
from tests.contract.interrupted import leave_behind, published, reminder
from tests.support.world import World, captured_logs


def sweep(milliseconds_left: int = 20_000) -> tuple[dict[str, float], list[Any]]:
    """The response of the function, and the lines of its log."""
    context = SimpleNamespace(get_remaining_time_in_millis=lambda: milliseconds_left)
    with captured_logs() as log:
        answer = lambda_handler({"source": "aws.events"}, context)
    return answer, [json.loads(line) for line in log.getvalue().splitlines()]


def metric(lines: list[Any], name: str) -> Any:
    (found,) = (line[name] for line in lines if name in line)
    return found[0]


def age(world: World, minutes: int) -> None:
    """Make the facts in the outbox older."""
    world.query("UPDATE outbox SET committed_at = committed_at - make_interval(mins => %s)", (minutes,))


def test_facts_left_behind_are_published_without_traffic(world: World) -> None:
    """Those that are older than 15 minutes, oldest first, each once."""
    leave_behind(world, *[reminder(f"event-{n}", n, "reminder:created", f"R{n}") for n in range(25)])
    age(world, 16)
    answer, lines = sweep()
    assert (answer["published"], answer["failed"], answer["waiting"]) == (25, 0, 0)
    assert len({cause for cause, _ in published(world)}) == 25
    assert (metric(lines, "FactsPublished"), metric(lines, "OutboxFacts")) == (25, 0)
    assert metric(lines, "OutboxOldestAge") == 0
    assert sweep()[0]["published"] == 0
    assert published(world) == []


def test_fresh_facts_are_left_to_their_records(world: World) -> None:
    """Their records will be redelivered; the outbox is measured."""
    leave_behind(world, reminder("event-1", 1, "reminder:created"), reminder("event-2", 1, "reminder:created", "R2"))
    age(world, 10)
    answer, lines = sweep()
    assert (answer["published"], answer["waiting"]) == (0, 2)
    assert metric(lines, "OutboxFacts") == 2
    assert 600 <= metric(lines, "OutboxOldestAge") < 660
    assert published(world) == []


def test_facts_that_cannot_be_published_stay_and_are_logged(world: World) -> None:
    """The metrics say how many wait and for how long."""
    leave_behind(world, reminder("event-1", 1, "reminder:created"))
    age(world, 16)
    with world.without_topic():
        answer, lines = sweep()
    assert (answer["published"], answer["failed"], answer["waiting"]) == (0, 1, 1)
    assert [line["reason"] for line in lines if line.get("message") == "orphaned fact not published"] == [
        "notification_topic"
    ]
    assert metric(lines, "OutboxOldestAge") >= 960


def test_a_sweep_stops_at_the_first_ten_if_none_of_them_can_be_published(world: World) -> None:
    """The others would fail, too, and would then be hidden for 15 minutes."""
    leave_behind(world, *[reminder(f"event-{n}", n, "reminder:created", f"R{n}") for n in range(12)])
    age(world, 16)
    with world.without_topic():
        answer, _ = sweep()
    assert (answer["published"], answer["failed"], answer["waiting"]) == (0, 10, 12)


def test_a_sweep_ends_before_its_time_does(world: World) -> None:
    """The next sweep publishes the rest; the outbox is still measured."""
    leave_behind(world, *[reminder(f"event-{n}", n, "reminder:created", f"R{n}") for n in range(25)])
    age(world, 16)
    answer, _ = sweep(milliseconds_left=6_500)
    assert (answer["published"], answer["waiting"]) == (10, 15)


def test_the_sweeper_fails_if_the_database_is_down(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that its errors are counted."""
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/nothing")
    with pytest.raises(RecordError):
        sweep(milliseconds_left=7_000)


@pytest.mark.parametrize("retryable", [True, False])
def test_what_may_pass_is_tried_again(world: World, monkeypatch: pytest.MonkeyPatch, retryable: bool) -> None:
    """Within the invocation; anything else fails it at once."""
    leave_behind(world, reminder("event-1", 1, "reminder:created"))
    age(world, 16)
    failures = [Unavailable("notifications", "for a moment", retryable=retryable)] * 2
    acknowledge = Notifications.acknowledge

    def failing(*given: Any) -> Any:
        if failures:
            raise failures.pop()
        return acknowledge(*given)

    monkeypatch.setattr(Notifications, "acknowledge", failing)
    if retryable:
        assert sweep()[0]["published"] == 1
    else:
        with pytest.raises(Unavailable):
            sweep()
        assert len(failures) == 1


def test_the_functions_role_may_measure_the_outbox_and_not_read_it(stack: Stack, database_url: str) -> None:
    """The function runs as its owner, and only those who were granted it may call it."""
    with psycopg.connect(database_url, autocommit=True) as owner:
        grant(owner, "sweeper_role", "secret")
        owner.execute("CREATE ROLE sweeper_stranger LOGIN")
    try:
        with psycopg.connect(database_url, user="sweeper_role", autocommit=True) as role:
            assert role.execute("SELECT * FROM outbox_age()").fetchone() == (0, 0.0)
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                role.execute("SELECT count(*) FROM outbox")
        with (
            psycopg.connect(database_url, user="sweeper_stranger", autocommit=True) as stranger,
            pytest.raises(psycopg.errors.InsufficientPrivilege),
        ):
            stranger.execute("SELECT * FROM outbox_age()")
    finally:
        with psycopg.connect(database_url, autocommit=True) as owner:
            owner.execute("DROP OWNED BY sweeper_role; DROP ROLE sweeper_role; DROP ROLE sweeper_stranger")
