import pytest

from local.stack import Stack, create_database
from tests.soak.soak import Soak, audit, soak


@pytest.fixture(scope="module")
def short(stack: Stack, migrated_template: str) -> Soak:
    """A soak of some seconds."""
    return soak(stack, create_database(stack, "soaked", migrated_template), seconds=8, seed=7)


def test_nothing_is_lost_and_nothing_doubled(short: Soak) -> None:
    """While processes are killed and connections break."""
    assert short.problems == []
    assert short.kills > 0
    assert short.stored == len(short.stream.events) > 50


def test_the_audit_finds_what_is_missing(short: Soak) -> None:
    """An event, a fact and a row that are not there are each told of."""
    items = short.aws.dynamodb.scan(TableName=short.aws.table)["Items"]
    event = next(item for item in items if "userId" in item)
    fact = next(item for item in items if "userId" not in item)
    for item in (event, fact):
        short.aws.dynamodb.delete_item(TableName=short.aws.table, Key={"pk": item["pk"], "sk": item["sk"]})
    applied = next(event for event in short.stream.events.values() if event["eventType"] == "reminder:updated")
    short.stream.events["never sent"] = {**applied, "id": "never sent", "itemId": "x"}
    audit(short)
    assert short.lost == 2
    assert sorted(problem.split()[0] for problem in short.problems) == ["event", "event", "fact", "row"]
