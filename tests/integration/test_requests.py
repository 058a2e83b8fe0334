"""The requests of a batch, counted on the wire: unlike a timing, a count does not vary."""

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from event_service.adapters.event_items import size_of
from event_service.handler import lambda_handler
from event_service.history.__main__ import main as history
from event_service.rebuild.__main__ import main as rebuild
from tests.support import event_items
from tests.support.aws import Aws, published
from tests.support.messages import CREATED, legacy, reminder_data, wrapped
from tests.support.proxies.backends import BackendProxies, proxied_backends
from tests.support.proxies.script import Details, Fault, Script

WRITE_UNIT_BYTES = (
    1024  # https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/provisioned-capacity-mode.html
)


@pytest.fixture
def wire(service_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[BackendProxies]:
    """The wire between the function and its backends, with the function warm."""
    with proxied_backends(service_environment["AWS_ENDPOINT_URL"], service_environment["DATABASE_URL"]) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint_url)
        monkeypatch.setenv("DATABASE_URL", proxy.database_url)
        handle(proxy, "warm", 1)
        yield proxy


def handle(wire: BackendProxies, name: str, size: int) -> Counter[str]:
    """Handle new reminders and return the requests made, by backend and operation."""
    return deliver(wire, name, size, Script())


def deliver(wire: BackendProxies, name: str, size: int, script: Script) -> Counter[str]:
    """The same, with faults."""
    wire.script = script
    items = [f"{name}-{number}" for number in range(size)]
    records = [
        wrapped(legacy(eventData=reminder_data(id=item), itemId=item), CREATED, MessageId=item) | {"messageId": item}
        for item in items
    ]
    assert lambda_handler({"Records": records}, None) == {"batchItemFailures": []}
    return Counter(f"{request.backend} {request.operation}" for request in wire.script.requests)


@pytest.mark.parametrize(
    ("size", "appends", "publishes"), [(1, 1, 1), (10, 1, 1), (25, 1, 3), (26, 2, 3), (100, 4, 10), (1000, 40, 100)]
)
def test_a_batch_costs_as_few_requests_as_the_limits_of_aws_allow(
    wire: BackendProxies, size: int, appends: int, publishes: int
) -> None:
    """25 events an append, 10 facts a publish; one statement applies all and one empties the outbox."""
    assert handle(wire, "new", size) == {
        "dynamodb BatchExecuteStatement": 2 * appends,  # of the events, then of their facts
        "sns PublishBatch": publishes,
        "postgresql apply_events": 1,
        "postgresql acknowledge_facts": 1,
    }


def test_a_redelivered_batch_costs_reads_and_nothing_is_published(wire: BackendProxies) -> None:
    """One request tells which are there, one reads them back, and two statements find that nothing is pending."""
    handle(wire, "again", 10)
    assert handle(wire, "again", 10) == {
        "dynamodb BatchExecuteStatement": 1,
        "dynamodb BatchGetItem": 1,
        "postgresql apply_events": 1,
        "postgresql acknowledge_facts": 1,
    }


@pytest.mark.parametrize("at", [1, 3, 4])
def test_an_entry_that_fails_for_a_moment_is_sent_again_and_only_it(wire: BackendProxies, aws: Aws, at: int) -> None:
    """Within the invocation: an event's append, then its fact's and the publication, in whichever order they come."""
    published(aws)
    deliver(wire, "throttled", 10, Script(Fault("fail one entry", at)))
    hit = wire.script.hit
    assert hit is not None
    assert hit.operation in ("BatchExecuteStatement", "PublishBatch")
    entries = [details.body.count(b".Id=") for details in details_of(wire, "PublishBatch")]
    assert sum(entries) == 10 + (hit.operation == "PublishBatch")
    causes = {f"throttled-{number}" for number in range(10)}
    assert Counter(fact["causationId"] for fact in published(aws)) == dict.fromkeys(causes, 1)
    assert {fact["causationId"] for fact in event_items.facts(aws)} == causes | {"warm-0"}


def test_a_reminder_costs_three_write_units(wire: BackendProxies, aws: Aws) -> None:
    """One for the event in the table, one in the index by user, and one for its fact, which is not in the index."""
    handle(wire, "unit", 10)
    items = [*event_items.scan(aws)]
    assert all(size_of(item) <= WRITE_UNIT_BYTES for item in items), [size_of(item) for item in items]
    assert Counter("userId" in item for item in items) == {True: 11, False: 11}
    assert len(json.dumps(reminder_data())) > 250, "a reminder of ordinary size"


def test_what_was_just_written_is_read_consistently(
    wire: BackendProxies, aws: Aws, service_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A duplicate, a rebuild's page and an item's history: an eventually consistent read may miss the last second."""
    handle(wire, "again", 1)
    handle(wire, "again", 1)
    (read,) = bodies(wire, "BatchGetItem")
    assert read["RequestItems"][aws.table]["ConsistentRead"] is True
    wire.script = Script()
    monkeypatch.setenv("DATABASE_URL", service_environment["DATABASE_URL"])
    assert rebuild(["--workers", "1", "--segments", "2"]) == 0
    scans = bodies(wire, "Scan")
    assert len(scans) >= 2
    assert all(scan["ConsistentRead"] is True for scan in scans)
    wire.script = Script()
    assert history(["reminder", "again-0"]) == 0
    queries = bodies(wire, "Query")
    assert queries
    assert all(query["ConsistentRead"] is True for query in queries)


def bodies(wire: BackendProxies, operation: str) -> list[dict[str, Any]]:
    """The bodies of the requests for an operation of DynamoDB."""
    return [json.loads(details.body) for details in details_of(wire, operation)]


def details_of(wire: BackendProxies, operation: str) -> list[Details]:
    return [each.details for each in wire.script.requests if each.operation == operation and each.details]
