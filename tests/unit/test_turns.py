"""The order in which the records of a batch are processed."""

import itertools
import random
from collections.abc import Sequence
from typing import Any

import pytest

from event_service.steps.turns import turns


def record(name: str, deliveries: int | None) -> dict[str, Any]:
    return {"messageId": name, "attributes": {"ApproximateReceiveCount": str(deliveries)}}


def survivors(names: Sequence[str], killers: set[str], deliveries: int) -> set[str]:
    """The records of a batch, all delivered equally often, that are done before the first turn with a killer."""
    done: set[str] = set()
    for turn in turns([record(name, deliveries) for name in names]):
        members = {names[number] for number in turn}
        if members & killers:
            break
        done |= members
    return done


def test_an_ordinary_batch_is_one_turn() -> None:
    assert turns([record(str(n), 1) for n in range(100)]) == [[*range(100)]]


def test_an_empty_batch_has_no_turn() -> None:
    assert turns([]) == []


def test_every_record_has_exactly_one_turn() -> None:
    """The number of deliveries does not matter."""
    rng = random.Random(1)
    for size in (1, 2, 7, 33, 250):
        records = [record(str(n), rng.randrange(1, 300)) for n in range(size)]
        assert sorted(itertools.chain.from_iterable(turns(records))) == [*range(size)]


def test_records_delivered_less_often_come_first() -> None:
    counts = [5, 1, 3, 9, 2, 1, 4]
    fresh, *others = turns([record(str(n), count) for n, count in enumerate(counts)])
    assert fresh == [1, 2, 4, 5]
    assert [counts[number] for number in itertools.chain.from_iterable(others)] == [4, 5, 9]


@pytest.mark.parametrize("deliveries", [1, 2, 3])
def test_up_to_three_deliveries_a_batch_stays_together(deliveries: int) -> None:
    """So that the events of one item are applied oldest first after a short outage."""
    assert turns([record(str(n), deliveries) for n in range(10)]) == [[*range(10)]]


@pytest.mark.parametrize("size", [10, 100, 1000])
def test_the_number_of_turns_is_bounded(size: int) -> None:
    """After a long outage, every record has been delivered often."""
    assert len(turns([record(str(n), 4 + n % 200) for n in range(size)])) <= 16


@pytest.mark.parametrize("killer", range(12))
def test_of_two_deliveries_one_spares_what_the_other_took_down(killer: int) -> None:
    names = [f"message-{n}" for n in range(12)]
    killers = {names[killer]}
    assert survivors(names, killers, 4) | survivors(names, killers, 5) == set(names) - killers


def test_with_several_killers_the_order_changes_until_all_others_are_through() -> None:
    """Also in a batch so large that several records share a turn."""
    names = [f"message-{n}" for n in range(60)]
    killers = set(names[::20])
    done: set[str] = set()
    for deliveries in range(4, 60):
        done |= survivors([name for name in names if name not in done], killers, deliveries)
    assert done == set(names) - killers


@pytest.mark.parametrize(
    "attributes",
    [None, {}, [], {"ApproximateReceiveCount": None}, {"ApproximateReceiveCount": 7}, {"ApproximateReceiveCount": "²"}],
)
def test_a_record_that_does_not_say_how_often_it_was_delivered_counts_as_fresh(attributes: Any) -> None:
    assert turns([record("old", 9), {"messageId": None, "attributes": attributes}, {}]) == [[1, 2], [0]]
