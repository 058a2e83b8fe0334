"""A short soak; `make soak` runs a long one."""

import pytest

from local.stack import Stack, create_database
from tests.soak.soak import Soak, audit, soak


@pytest.fixture(scope="module")
def short(stack: Stack, migrated_template: str) -> Soak:
    """A soak of a few seconds."""
    return soak(stack, create_database(stack, "soaked", migrated_template), seconds=8, seed=7)


def test_nothing_is_lost_and_nothing_happens_twice(short: Soak) -> None:
    """While processes are killed and connections break."""
    assert short.problems == []
    assert short.kills > 0
    assert short.stored == len(short.stream.events) > 50


def test_the_audit_finds_what_is_missing(short: Soak) -> None:
    """A missing event, fact and row are each reported."""
    event, fact = next(iter(short.world.events())), next(iter(short.world.facts_stored().values()))
    for pk, sk in (event, (fact["pk"], fact["sk"])):
        key = {"pk": {"S": pk}, "sk": {"S": sk}}
        short.world.aws.dynamodb.delete_item(TableName=short.world.aws.table, Key=key)
    applied = next(event for event in short.stream.events.values() if event["eventType"] == "reminder:updated")
    short.stream.events["never sent"] = {**applied, "id": "never sent", "itemId": "x"}
    audit(short)
    short.world.close()
    assert short.lost == 2
    assert sorted(problem.split()[0] for problem in short.problems) == ["event", "event", "fact", "row"]
