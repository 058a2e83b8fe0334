import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import botocore.session
import pytest
from botocore.exceptions import ClientError
from urllib3.exceptions import ProtocolError

from event_service.adapters.aws import make_transport
from event_service.adapters.data_plane import Sns
from event_service.adapters.topics import RejectedTopic
from event_service.config import Settings
from event_service.deadline import Deadline
from event_service.errors import RecordError
from event_service.handler import build
from event_service.pipeline import Backends, process
from local.stack import Stack
from tests.support.dead_letters import Letters, make_letters
from tests.support.messages import native, raw
from tests.support.world import World

MALFORMED = "{"


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as executor:
        yield executor


@pytest.fixture
def letters(stack: Stack) -> Letters:
    return make_letters(stack)


class Client:
    """The real client, except that it first raises the given errors; it counts the entries of each request."""

    def __init__(self, *errors: Exception, failed: dict[str, Any] | None = None) -> None:
        self.sns = Sns(make_transport(botocore.session.get_session(), "sns"))
        self.errors = [*errors]
        self.failed = failed
        self.requests: list[list[Any]] = []

    def publish_batch(self, **request: Any) -> Any:
        self.requests.append(request["PublishBatchRequestEntries"])
        if self.errors:
            raise self.errors.pop(0)
        if self.failed and len(self.requests) == 1:
            return {"Successful": [], "Failed": [{"Id": e["Id"], **self.failed} for e in self.requests[0]]}
        return self.sns.publish_batch(**request)


def send(client: Any, arn: str, pool: ThreadPoolExecutor, *records: Any) -> list[RecordError | None]:
    topic = RejectedTopic(client, arn, pool, pool)
    return topic.send([(record, '{"reason":"not_json"}') for record in records], Deadline.after(10))


def test_records_are_sent_ten_at_a_time_and_within_the_limit_of_a_request(
    letters: Letters, pool: ThreadPoolExecutor
) -> None:
    """256 KiB for all messages of a request together."""
    client = Client()
    small, large = [raw(f"{n}") for n in range(23)], [raw("x" * 100_000) for _ in range(5)]
    assert send(client, letters.topic_arn, pool, *small) == [None] * 23
    assert sorted(map(len, client.requests)) == [3, 10, 10]
    client.requests.clear()
    assert send(client, letters.topic_arn, pool, *large) == [None] * 5
    assert sorted(map(len, client.requests)) == [1, 2, 2]
    assert len(letters.received()) == 28


def test_attributes_of_every_type_are_sent_as_they_were_received(letters: Letters, pool: ThreadPoolExecutor) -> None:
    """Lambda passes binary values in base64; SNS gets the bytes."""
    client = Client()
    record = raw("x") | {
        "messageAttributes": {
            "word": {"stringValue": "ü", "dataType": "String", "stringListValues": [], "binaryListValues": []},
            "count": {"stringValue": "7", "dataType": "Number", "stringListValues": [], "binaryListValues": []},
            "hash": {"binaryValue": "AP8=", "dataType": "Binary", "stringListValues": [], "binaryListValues": []},
        }
    }
    assert send(client, letters.topic_arn, pool, record) == [None]
    ((entry,),) = client.requests
    assert entry["MessageAttributes"] == {
        "word": {"DataType": "String", "StringValue": "ü"},
        "count": {"DataType": "Number", "StringValue": "7"},
        "hash": {"DataType": "Binary", "BinaryValue": b"\x00\xff"},
        "rejection": {"DataType": "String", "StringValue": '{"reason":"not_json"}'},
    }


def test_a_record_that_cannot_be_published_fails_alone(letters: Letters, pool: ThreadPoolExecutor) -> None:
    """Its body and attributes may be anything."""
    attribute = {"stringValue": "x", "dataType": "String"}
    broken = [
        raw("x") | {"body": None},
        raw("\ud83c"),
        raw("x") | {"messageAttributes": {"a": None}},
        raw("x") | {"messageAttributes": {"a": {"dataType": "Binary", "binaryValue": "?"}}},
        raw("x") | {"messageAttributes": {str(n): attribute for n in range(10)}},
        raw("x" * 256 * 1024),
    ]
    outcomes = send(Client(), letters.topic_arn, pool, *broken, raw("good"))
    assert [outcome and outcome.reason for outcome in outcomes] == ["rejected_topic"] * len(broken) + [None]
    assert not any(outcome.retryable for outcome in outcomes if outcome)
    assert [message["Body"] for message in letters.received()] == ["good"]


def test_a_record_may_have_exactly_256_kib(letters: Letters, pool: ThreadPoolExecutor) -> None:
    """Of UTF-8: the body, and the names, types and values of the attributes, `rejection` among them."""
    attributes = {
        "wört": {"stringValue": "ü", "dataType": "String.name"},
        "icon": {"binaryValue": "AP8=", "dataType": "Binary.gif"},
    }
    others = len("wörtüString.name".encode()) + len("iconBinary.gif") + 2 + len('rejectionString{"reason":"not_json"}')
    largest = 256 * 1024 - others
    records = [raw("x" * length) | {"messageAttributes": attributes} for length in (largest, largest + 1)]
    outcomes = send(Client(), letters.topic_arn, pool, *records)
    assert [outcome and str(outcome) for outcome in outcomes] == [None, "the record is larger than 262,144 bytes"]


TRANSIENT = [
    ProtocolError("connection closed"),
    ClientError({"Error": {"Code": "Throttling"}, "ResponseMetadata": {"HTTPStatusCode": 400}}, "PublishBatch"),  # type: ignore[typeddict-item]
    ValueError("no response that can be read"),
]


@pytest.mark.parametrize("error", TRANSIENT, ids=lambda error: type(error).__name__)
def test_a_transient_failure_is_healed_within_the_batch(
    world: World, letters: Letters, pool: ThreadPoolExecutor, error: Exception
) -> None:
    """The topic is tried again until the deadline, as every backend is."""
    client = Client(error, error)
    result = process([raw(MALFORMED)], _backends(client, letters, pool), Deadline.after(10))
    assert [outcome.handed_over for outcome in result.outcomes] == [True]
    assert [len(request) for request in client.requests] == [1, 1, 1]


def test_entries_that_sns_failed_for_a_moment_are_sent_again(
    world: World, letters: Letters, pool: ThreadPoolExecutor
) -> None:
    """Those that it blames on the sender are not."""
    client = Client(failed={"Code": "InternalError", "SenderFault": False})
    result = process([raw(MALFORMED)], _backends(client, letters, pool), Deadline.after(10))
    assert result.outcomes[0].handed_over
    client = Client(failed={"Code": "InvalidParameter", "SenderFault": True})
    result = process([raw(MALFORMED)], _backends(client, letters, pool), Deadline.after(10))
    assert (result.outcomes[0].handed_over, len(client.requests)) == (False, 1)


def test_a_topic_that_stays_down_is_given_up_sooner_by_the_next_batch(
    world: World, letters: Letters, pool: ThreadPoolExecutor
) -> None:
    """A batch with a rejected record would otherwise last as long as it may."""
    client = Client(*[ProtocolError("connection closed")] * 1000)
    backends = _backends(client, letters, pool)
    first = process([raw(MALFORMED)], backends, Deadline.after(1))
    assert (first.outcomes[0].handed_over, backends.down) == (False, frozenset({"rejected_topic"}))
    deadline = Deadline.after(20)
    process([raw(MALFORMED), raw(native())], backends, deadline)
    assert deadline.remaining() > 15


def test_a_topic_that_failed_and_then_does_not_answer_is_reported_with_its_failure(
    world: World, letters: Letters, pool: ThreadPoolExecutor
) -> None:
    """That time ran out is only the consequence; the batch ends in time."""
    errors = [ProtocolError("connection closed")]

    def publish_batch(**_: Any) -> Any:
        if errors:
            raise errors.pop()
        time.sleep(1.5)

    backends = _backends(SimpleNamespace(publish_batch=publish_batch), letters, pool)
    started = time.monotonic()
    (outcome,) = process([raw(MALFORMED)], backends, Deadline.after(1)).outcomes
    assert time.monotonic() - started < 1.4
    assert outcome.handover_error is not None
    assert outcome.handover_error.reason == "rejected_topic"


def test_a_batch_without_rejections_does_not_use_the_topic(
    world: World, letters: Letters, pool: ThreadPoolExecutor
) -> None:
    """It makes the same requests as without a topic."""
    client = Client()
    result = process([raw(native())], _backends(client, letters, pool), Deadline.after(10))
    assert [outcome.error for outcome in result.outcomes] == [None]
    assert client.requests == []


def test_records_are_handed_over_while_the_other_steps_run(
    world: World, letters: Letters, pool: ThreadPoolExecutor
) -> None:
    """The topic's answer is not waited for before the good records are applied."""
    rows: list[int] = []

    def publish_batch(**request: Any) -> Any:
        deadline = Deadline.after(5)
        while not (found := len(world.rows())) and deadline.remaining():
            pass
        rows.append(found)
        return client.publish_batch(**request)

    client = Client()
    backends = _backends(SimpleNamespace(publish_batch=publish_batch), letters, pool)
    result = process([raw(MALFORMED), raw(native())], backends, Deadline.after(10))
    assert [outcome.handed_over for outcome in result.outcomes] == [True, False]
    assert rows == [1]


def _backends(client: Any, letters: Letters, pool: ThreadPoolExecutor) -> Backends:
    service = build(Settings.from_environment(os.environ))
    return Backends(service.backends.relay, RejectedTopic(client, letters.topic_arn, pool, ThreadPoolExecutor(1)))
