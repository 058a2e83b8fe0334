"""The deliveries that can follow a disturbed batch."""

from collections.abc import Callable, Sequence

from tests.faults.lane import Lane
from tests.faults.scenarios import Scenario, later_batch
from tests.support.messages import Record
from tests.support.proxies.script import Fault
from tests.support.worker import Answer

DELIVERIES = 5  # as the queue's maxReceiveCount


def run(
    lane: Lane,
    scenario: Scenario,
    *faults: Fault,
    newer: bool = False,
    check: Callable[[Answer], None] = lambda _: None,
) -> set[str]:
    """Deliver a scenario's batch until it is acknowledged but for what is hopeless; each delivery has the next fault.

    `newer`: newer events of its items are delivered between the first and the second time. `check` gets the answer
    to the first delivery, if there is one.

    Returns:
        The ids of the events that were overtaken: not applied when a later one of the same item was.

    """
    _begin(lane, scenario)
    waiting, overtaken = list(scenario.batch), set()
    for delivery in range(len(faults) + DELIVERIES):
        fault = faults[delivery] if delivery < len(faults) else None
        answer = lane.deliver(waiting, fault, cold=scenario.cold and not delivery)
        assert fault is None or lane.proxies.script.hit is not None, "the fault did not happen"
        waiting = _to_redeliver(waiting, answer)
        assert scenario.hopeless <= {record["messageId"] for record in waiting}
        if delivery == 0:
            if answer is not None:
                check(answer)
            overtaken = _overtaken(lane, scenario)
            if newer:
                between = lane.deliver(scenario.newer)
                assert between is not None
                assert between.failed == set(), between.log
                overtaken |= _overtaken(lane, scenario)
        if {record["messageId"] for record in waiting} == scenario.hopeless:
            return overtaken
    raise AssertionError(f"not acknowledged after {DELIVERIES} deliveries: {answer and answer.log}")


def run_without_redelivery(lane: Lane, scenario: Scenario, fault: Fault) -> set[str]:
    """Deliver a scenario's batch once, with a fault, and 16 minutes later another; return what had been applied."""
    _begin(lane, scenario)
    lane.deliver(scenario.batch, fault, cold=scenario.cold)
    assert lane.proxies.script.hit is not None, "the fault did not happen"
    applied = lane.applied()
    lane.age_outbox()
    answer = lane.deliver(later_batch())
    assert answer is not None
    assert answer.failed == set(), answer.log
    return applied


def _begin(lane: Lane, scenario: Scenario) -> None:
    lane.world.reset()
    answer = lane.deliver(scenario.before)
    assert answer is not None
    assert answer.failed == set(), answer.log
    if scenario.merged:
        lane.merge(scenario.merged)


def _to_redeliver(records: Sequence[Record], answer: Answer | None) -> list[Record]:
    """Return the records that SQS delivers again: those answered as failed, or all if there was no answer."""
    return [record for record in records if answer is None or record["messageId"] in answer.failed]


def _overtaken(lane: Lane, scenario: Scenario) -> set[str]:
    applied = lane.applied()
    last = {scenario.place[name] for name in applied}
    return {
        name
        for name, (item, second) in scenario.place.items()
        if name not in applied and any(item == other and second < later for other, later in last)
    }
