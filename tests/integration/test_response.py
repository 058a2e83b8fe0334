"""The response of the function, which Powertools' batch processor makes of the pipeline's outcomes."""

import json

import pytest

from event_service import handler
from tests.support.messages import CREATED, legacy, raw
from tests.support.world import World


def test_a_batch_that_fails_as_a_whole_is_an_ordinary_response(world: World) -> None:
    """Each record by its id and in order; an exception would make Lambda deliver all of them without reasons."""
    records = [raw("{", CREATED, message_id=f"bad-{number}") for number in range(3)]
    failures = [{"itemIdentifier": record["messageId"]} for record in records]
    assert handler.lambda_handler({"Records": records}, None) == {"batchItemFailures": failures}


def test_the_failures_of_one_batch_are_not_those_of_the_next(world: World) -> None:
    """The environment is kept between invocations, and nothing of a response with it."""
    bad, good = raw("{", CREATED, message_id="bad"), raw(legacy(), CREATED, message_id="good")
    assert world.invoke([bad]).failed == {"bad"}
    assert world.invoke([good]).failed == set()
    assert world.invoke([good, bad, good | {"messageId": "again"}]).failed == {"bad"}


def test_an_empty_batch_has_no_failures(world: World) -> None:
    """Lambda does not send one, but a person who tries the function may."""
    assert world.invoke([]).failed == set()


def test_a_bug_in_the_pipeline_fails_every_record_with_its_reason(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is acknowledged, and the log says where it happened, but not with which value."""

    def process(*_: object) -> None:
        raise ZeroDivisionError("alice@example.com")

    monkeypatch.setattr(handler, "process", process)
    records = [raw(legacy(), CREATED, message_id=name) for name in ("one", "two")]
    answer = world.invoke(records)
    assert answer.failed == {"one", "two"}
    for record in records:
        (line,) = answer.entries(record)
        assert line["reason"] == "internal"
        assert line["error"].startswith("ZeroDivisionError at test_response.py:")
    assert "alice@example.com" not in json.dumps(answer.lines)
