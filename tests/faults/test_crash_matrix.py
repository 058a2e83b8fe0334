"""§5 at every request: whatever happens to it, the redeliveries end where an undisturbed run does.

`make test` runs a fixed sample of the cells, each mode at other requests than the modes beside it.
"""

import json
import queue
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import get_args

import pytest

from local.stack import Stack
from tests.faults.conftest import Count
from tests.faults.lane import Lane, State, open_lane
from tests.faults.runs import run, run_without_redelivery
from tests.faults.scenarios import SCENARIOS
from tests.support.proxies.script import Fault, Mode, Request
from tests.support.sampling import sample
from tests.support.worker import Answer, Limits

_LANES = 2
_LANES_THAT_WAIT = 8  # a delayed request costs no CPU
_LIMIT_SECONDS = 0.5
_SHARE = 5  # the sample has every fifth request
# After these the function knows that SNS did not take a message, and no fact is published twice.
_CLEAR: tuple[Mode, ...] = ("refuse", "throttle", "fail one entry")

MODES: tuple[Mode, ...] = get_args(Mode)
# Those that end a delivery in another state than it began in; the others differ from them in the reason only.
MODES_OF_REDELIVERIES: tuple[Mode, ...] = ("refuse", "drop the answer", "kill before", "kill after")
# Once, and from there on for the whole delivery; the process can be killed only once.
FAULTS = [(mode, onward) for mode in MODES for onward in (False, True) if not (onward and mode.startswith("kill"))]
APPLY = Request("postgresql", "apply_events")
WAYS = ("redelivered", "redelivered twice", "newer events before the redelivery", "never redelivered")
every_fault = pytest.mark.parametrize(
    ("mode", "onward"), FAULTS, ids=[f"{mode}, {'onward' if onward else 'once'}" for mode, onward in FAULTS]
)

Lanes = Callable[[Mode], "queue.Queue[Lane]"]
Run = Callable[[Lane, str, Fault], int]
Undisturbed = dict[tuple[str, bool], State]
Positions = dict[str, list[Request]]


@pytest.fixture(scope="module")
def lanes(stack: Stack, migrated_template: str) -> Iterator[Lanes]:
    """The lanes to run a mode in, made when they are first asked for."""
    made: dict[bool, queue.Queue[Lane]] = {}
    with ExitStack() as stop:

        def lanes_for(mode: Mode) -> "queue.Queue[Lane]":
            waits = mode == "delay"
            if waits not in made:
                made[waits] = queue.Queue()
                for _ in range(_LANES_THAT_WAIT if waits else _LANES):
                    limits = Limits(request_seconds=_LIMIT_SECONDS if waits else None)
                    made[waits].put(stop.enter_context(open_lane(stack, migrated_template, limits)))
            return made[waits]

        yield lanes_for


@pytest.fixture(scope="module")
def undisturbed(lanes: Lanes) -> Undisturbed:
    """The end of every scenario, without and with newer events, when nothing goes wrong."""
    lane = lanes("refuse").get()
    ends = {}
    for name, scenario in SCENARIOS.items():
        for newer in (False, True):
            run(lane, scenario, newer=newer)
            ends[name, newer] = lane.state()
    lanes("refuse").put(lane)
    return ends


@pytest.fixture(scope="module")
def positions(lanes: Lanes) -> Positions:
    """Every request of each scenario's batch, counted when nothing goes wrong."""
    lane = lanes("refuse").get()
    requests = {}
    for name, scenario in SCENARIOS.items():
        run(lane, scenario)
        requests[name] = lane.requests()
    lanes("refuse").put(lane)
    return requests


@pytest.fixture(scope="module")
def redelivery_positions(lanes: Lanes, positions: Positions) -> Positions:
    """Every request of each scenario's redelivery, when the first delivery died as soon as it had applied."""
    lane = lanes("refuse").get()
    requests = {}
    for name, scenario in SCENARIOS.items():
        run(lane, scenario, death_after_applying(positions[name]))
        requests[name] = lane.requests()
    lanes("refuse").put(lane)
    return requests


def death_after_applying(requests: list[Request]) -> Fault:
    """Return the death of the process after the first statement that applies."""
    return Fault("kill after", requests.index(APPLY) + 1)


def row(way: str, mode: Mode, onward: bool) -> int:
    """Number the rows of the matrix: the sample of each begins at another request."""
    return FAULTS.index((mode, onward)) + 2 * WAYS.index(way)


@pytest.fixture
def matrix(lanes: Lanes, count: Count) -> Callable[[str, Positions, Mode, bool, Run], None]:
    """Run one mode at the positions of every scenario, lanes side by side, and count."""

    def run_all(way: str, positions: Positions, mode: Mode, onward: bool, one: Run) -> None:
        free = lanes(mode)

        def run_one(name: str, at: int) -> int:
            lane = free.get()
            try:
                return one(lane, name, Fault(mode, at, onward))
            except AssertionError as exc:
                exc.add_note(f"{name}: {mode} at request {at} of {positions[name]}{' and on' if onward else ''}")
                raise
            finally:
                free.put(lane)

        with ThreadPoolExecutor(free.qsize()) as pool:
            cells = [
                (name, at)
                for name, requests in positions.items()
                for at, request in enumerate(requests, 1)
                if mode != "fail one entry" or request.backend != "postgresql"
            ]
            runs = [pool.submit(run_one, *cell) for cell in sample(cells, _SHARE, row(way, mode, onward))]
        count(way, sum(map(len, positions.values())), len(runs), sum(each.result() for each in runs))

    return run_all


def test_a_batch_makes_the_requests_it_was_designed_for(positions: Positions, undisturbed: Undisturbed) -> None:
    """The batches are large enough to be sent in several requests, and have something of every kind."""
    names = Counter(f"{request.backend} {request.operation}" for request in positions["mixed"])
    assert names == {
        "dynamodb BatchExecuteStatement": 3,
        "dynamodb BatchGetItem": 1,
        "sns PublishBatch": 2,
        "postgresql connect": 1,
        "postgresql setting": 3,  # one reads them all; the local server has two of them otherwise
        "postgresql apply_events": 1,
        "postgresql acknowledge_facts": 1,
    }
    assert Request("postgresql", "connect") not in positions["large"]
    assert undisturbed["mixed", False].repeats == 0
    assert {"life-1", "life-2", "life-3", "moved-12"} < set(undisturbed["mixed", False].facts)
    assert positions["merged"].count(APPLY) == 1, "what a rebuild has applied costs no extra statement"
    assert set(undisturbed["merged", False].facts) == {"told-1", "untold-2", "told-3"}
    assert positions["refused"].count(APPLY) > 2, "the refused row was not searched for"
    assert set(undisturbed["refused", False].facts) == {"warm-1", "pair-1", "pair-9", "other-6"}


@every_fault
def test_a_redelivered_batch_ends_as_an_undisturbed_one(
    matrix: Callable[..., None], positions: Positions, undisturbed: Undisturbed, mode: Mode, onward: bool
) -> None:
    """Same events, rows, view and facts; only the bad record stays, and nothing waits in the outbox."""

    def one(lane: Lane, name: str, fault: Fault) -> int:
        overtaken = run(lane, SCENARIOS[name], fault)
        end = lane.state()
        assert_same_end(end, undisturbed[name, False], overtaken)
        if mode in _CLEAR and not onward:
            assert end.repeats == 0
        return end.repeats

    matrix("redelivered", positions, mode, onward, one)


@pytest.mark.parametrize("mode", MODES_OF_REDELIVERIES)
def test_a_redelivery_that_fails_too_ends_as_an_undisturbed_batch(
    matrix: Callable[..., None],
    positions: Positions,
    redelivery_positions: Positions,
    undisturbed: Undisturbed,
    mode: Mode,
) -> None:
    """The first delivery died with everything applied and nothing published; the second has the fault."""

    def one(lane: Lane, name: str, fault: Fault) -> int:
        overtaken = run(lane, SCENARIOS[name], death_after_applying(positions[name]), fault)
        end = lane.state()
        assert_same_end(end, undisturbed[name, False], overtaken)
        return end.repeats

    matrix("redelivered twice", redelivery_positions, mode, False, one)  # noqa: FBT003  # once


def test_partial_failures_of_every_backend_at_once_fail_the_records_they_concern(
    lanes: Lanes, undisturbed: Undisturbed
) -> None:
    """A throttled statement, a refused row and a message that SNS does not take: each record has its own reason."""
    lane, scenario = lanes("refuse").get(), SCENARIOS["refused"]
    failed: dict[str | None, str] = {}

    def check(answer: Answer) -> None:
        lines = [json.loads(line) for line in answer.log.splitlines()]
        failed.update(
            {line.get("event_id"): line["reason"] for line in lines if line.get("message") == "record failed"}
        )
        assert len(answer.failed) == len(failed)

    overtaken = run(lane, scenario, Fault("fail one entry", 1, onward=True, everywhere=True), check=check)
    end = lane.state()
    lanes("refuse").put(lane)
    assert failed == {
        None: "not_json",
        "pair-9": "event_store",
        "refused-5": "notifications",
        "pair-1": "notification_topic",
    }
    assert_same_end(end, undisturbed["refused", False], overtaken)
    assert end.repeats == 0


@every_fault
def test_newer_events_in_between_change_nothing(
    matrix: Callable[..., None], positions: Positions, undisturbed: Undisturbed, mode: Mode, onward: bool
) -> None:
    """An event applied before the fault has its fact, though newer events of its item were processed in between."""

    def one(lane: Lane, name: str, fault: Fault) -> int:
        overtaken = run(lane, SCENARIOS[name], fault, newer=True)
        end = lane.state()
        assert_same_end(end, undisturbed[name, True], overtaken)
        return end.repeats

    matrix("newer events before the redelivery", positions, mode, onward, one)


@every_fault
def test_facts_of_records_that_never_come_back_are_published(
    matrix: Callable[..., None], positions: Positions, undisturbed: Undisturbed, mode: Mode, onward: bool
) -> None:
    """A later batch of a store-only event publishes every committed fact, and only those."""

    def one(lane: Lane, name: str, fault: Fault) -> int:
        applied = run_without_redelivery(lane, SCENARIOS[name], fault)
        end = lane.state()
        assert set(end.facts) == applied
        assert set(end.published) == end.fact_ids
        assert end.outbox == []
        assert applied <= set(undisturbed[name, False].facts)
        return end.repeats

    matrix("never redelivered", positions, mode, onward, one)


def assert_same_end(end: State, undisturbed: State, overtaken: set[str]) -> None:
    """Everything is as in the undisturbed run; a change that was overtaken before it was applied has no fact."""
    assert end.events == undisturbed.events
    assert end.rows == undisturbed.rows
    assert end.view == undisturbed.view
    assert end.outbox == []
    assert set(end.published) == end.fact_ids
    assert set(end.facts) == set(undisturbed.facts) - overtaken
    if not overtaken & set(undisturbed.facts):
        assert end.facts == undisturbed.facts
