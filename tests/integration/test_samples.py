"""The samples in events/: what the function makes of each, and that each is what Lambda would deliver."""

import hashlib
import json
import struct
from typing import Any

import psycopg
import pytest

from event_service.handler import lambda_handler
from tests.support.aws import Aws, published
from tests.support.event_items import items as stored_items
from tests.support.messages import Json
from tests.support.samples import CASES, FOLDER, RECORDS, message

every_sample = pytest.mark.parametrize("name", sorted(RECORDS))


def by_time(pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return sorted((f"2026-11-23T{time.ljust(15, '0')}Z", value) for time, value in pairs)


def test_every_case_has_a_sample_and_every_sample_is_a_case() -> None:
    """The folder holds the samples of the table, and nothing else."""
    assert {path.name for path in FOLDER.iterdir()} == {f"{name}.json" for name in CASES}


@every_sample
@pytest.mark.parametrize("deliveries", [1, 2])
def test_a_sample_leads_to_what_the_table_says(
    name: str,
    deliveries: int,
    aws: Aws,
    service_environment: dict[str, str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Answer, log, event store, notification and facts are those of the table, delivered once or twice."""
    case, records = CASES[name], RECORDS[name]
    for _ in range(deliveries):
        failed = [{"itemIdentifier": records[place]["messageId"]} for place in case.failures]
        assert lambda_handler({"Records": records}, None) == {"batchItemFailures": failed}
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        logged = {
            (line["message_id"], line["reason"], line["field"])
            for line in lines
            if "reason" in line and "message_id" in line
        }
        assert logged == {(records[place]["messageId"], *why) for place, why in case.failures.items()}

    items, facts = [*stored_items(aws).values()], published(aws, len(case.facts))
    fact_ids = {fact["id"] for fact in facts}
    events = [item for item in items if item["id"] not in fact_ids]
    assert {item["pk"] for item in events} == {case.stream}
    assert by_time([*case.stored.items()]) == sorted((item["occurredAt"], item["eventType"]) for item in events)
    assert all(any(f'"eventData":{item["eventData"]}' in message(record) for record in records) for item in events)

    expected = by_time([(time, f"notification:{change}") for time, change in case.facts.items()])
    assert sorted((fact["occurredAt"], fact["eventType"]) for fact in facts) == expected
    assert sorted(item["id"] for item in items if item not in events) == sorted(fact["id"] for fact in facts)
    # A fact too large to be published whole is stored whole.
    assert all('"notificationData":{' in item["eventData"] for item in items if item not in events)
    assert {fact["causationId"] for fact in facts} <= {item["id"] for item in events}
    assert all(fact["eventData"].get("truncated", False) == (name == "large") for fact in facts)

    with psycopg.connect(service_environment["DATABASE_URL"], options="-c TimeZone=UTC") as connection:
        live = connection.execute(
            'SELECT "itemType" || \'#\' || "itemId", "userId", "userEmail",'
            """ to_char("deliverAt", 'DD"T"HH24:MI'), "notificationData"::json ->> 'message' FROM "notification" """
        ).fetchall()
        tombstones = connection.execute(
            "SELECT to_char(deleted_at, 'HH24:MI:SS.MS') FROM notifications WHERE deleted_at IS NOT NULL"
        ).fetchall()
    assert live == ([(case.stream, *case.live)] if case.live else [])
    assert tombstones == ([(case.tombstone,)] if case.tombstone else [])


@pytest.mark.parametrize(
    "names",
    [
        ["reminder-created", "reminder-updated", "reminder-deleted"],
        ["notification-create", "notification-update", "notification-delete"],
    ],
)
def test_three_samples_tell_a_life(names: list[str], aws: Aws, service_environment: dict[str, str]) -> None:
    """Invoked one after the other they create, update and delete one notification."""
    for name in names:
        assert lambda_handler({"Records": RECORDS[name]}, None) == {"batchItemFailures": []}
    facts = sorted(published(aws, 3), key=lambda fact: str(fact["occurredAt"]))
    assert [fact["eventType"].partition(":")[2] for fact in facts] == ["created", "updated", "deleted"]
    assert len({fact["itemId"] for fact in facts}) == 1


@every_sample
def test_a_sample_is_what_lambda_delivers(name: str) -> None:
    """Each record has the fields that Lambda gives it, its own id, and the checksums that SQS computes."""
    names = {"messageId", "receiptHandle", "body", "attributes", "messageAttributes", "md5OfBody", "eventSource"}
    assert len({record["messageId"] for record in RECORDS[name]}) == len(RECORDS[name])
    for record in RECORDS[name]:
        attributes = record["messageAttributes"]
        assert set(record) == names | {"eventSourceARN", "awsRegion"} | (
            {"md5OfMessageAttributes"} if attributes else set()
        )
        assert record["md5OfBody"] == hashlib.md5(record["body"].encode(), usedforsecurity=False).hexdigest()
        assert record.get("md5OfMessageAttributes") == (md5_of(attributes) if attributes else None)
        assert record["eventSource"] == "aws:sqs"


def md5_of(attributes: dict[str, Json]) -> str:
    """https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-message-metadata.html#sqs-attributes-md5-message-digest-calculation."""
    digest = hashlib.md5(usedforsecurity=False)
    for name, attribute in sorted(attributes.items()):
        for mark, text in (b"", name), (b"", attribute["dataType"]), (b"\x01", attribute["stringValue"]):
            digest.update(mark + struct.pack(">I", len(text.encode())) + text.encode())
    return digest.hexdigest()


@every_sample
def test_a_wrapped_body_looks_as_sns_makes_it(name: str) -> None:
    """https://docs.aws.amazon.com/sns/latest/dg/http-notification-json.html: two blanks, ` : `, an attribute a line."""
    for body in (record["body"] for record in RECORDS[name] if record["body"].startswith("{\n")):
        fields = json.loads(body)
        attributes = fields.pop("MessageAttributes", {})
        lines = [f"  {dumps(field)} : {dumps(value)}" for field, value in fields.items()]
        inner = ",\n".join(f"    {dumps(key)} : {dumps(value)}" for key, value in attributes.items())
        assert (
            body
            == "{\n" + ",\n".join([*lines, f'  "MessageAttributes" : {{\n{inner}\n  }}'][: 10 if inner else 9]) + "\n}"
        )
        assert " ".join(fields) == (
            "Type MessageId TopicArn Message Timestamp SignatureVersion Signature SigningCertURL UnsubscribeURL"
        )


def dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
