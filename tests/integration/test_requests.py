"""What a batch costs, counted on the wire: unlike a timing, a count does not vary."""

import json
from collections import Counter
from collections.abc import Iterator

import pytest

from event_service.adapters.event_items import size_of
from event_service.handler import lambda_handler
from tests.support import event_items
from tests.support.aws import Aws
from tests.support.messages import CREATED, legacy, reminder_data, wrapped
from tests.support.proxies.backends import BackendProxies, proxied_backends
from tests.support.proxies.script import Script

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
    wire.script = Script()
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


def test_a_reminder_costs_three_write_units(wire: BackendProxies, aws: Aws) -> None:
    """One for the event in the table, one in the index by user, and one for its fact, which is not in the index."""
    handle(wire, "unit", 10)
    items = [*event_items.scan(aws)]
    assert all(size_of(item) <= WRITE_UNIT_BYTES for item in items), [size_of(item) for item in items]
    assert Counter("userId" in item for item in items) == {True: 11, False: 11}
    assert len(json.dumps(reminder_data())) > 250, "a reminder of ordinary size"
