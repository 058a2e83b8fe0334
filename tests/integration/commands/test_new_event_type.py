"""Adding an event type is one entry in one place."""

import json
from pathlib import Path

import psycopg
import pytest
from jsonschema import Draft202012Validator

from event_service.catalogue.document import asyncapi, event_types
from event_service.check import __main__ as check
from event_service.domain.event import KNOWN_TYPES, KnownType
from event_service.handler import lambda_handler
from tests.support.aws import Aws, published
from tests.support.messages import native, raw


def test_an_entry_in_known_types_adds_a_type(
    monkeypatch: pytest.MonkeyPatch, aws: Aws, service_environment: dict[str, str], tmp_path: Path
) -> None:
    """Its events are accepted, checked, documented and applied, and have facts."""
    issued = native(id="1", eventType="invoice:issued", eventData={"date": "2027-01-01T08:00:00Z", "amount": 12.50})
    dateless = native(id="2", eventType="invoice:issued", eventData={"amount": 12.50})
    paid = native(id="3", eventType="invoice:paid", occurredAt="2026-11-24T08:00:00Z", eventData={})
    (tmp_path / "dateless.json").write_text(json.dumps(dateless))
    assert isinstance(KNOWN_TYPES, dict)
    for name in ("invoice:issued", "invoice:paid"):
        monkeypatch.delitem(KNOWN_TYPES, name, raising=False)  # they are there if someone tries out the README
    assert check.main([str(tmp_path / "dateless.json")]) == 0  # an unknown type is only stored

    monkeypatch.setitem(KNOWN_TYPES, "invoice:issued", KnownType("create", subject="invoice"))
    monkeypatch.setitem(KNOWN_TYPES, "invoice:paid", KnownType("delete", subject="invoice"))

    assert check.main([str(tmp_path / "dateless.json")]) == 1
    described = {each["name"]: each for each in event_types()}
    schema = Draft202012Validator(described["invoice:issued"]["messageSchema"])
    assert schema.is_valid(issued)
    assert not schema.is_valid(dateless)
    assert described["invoice:paid"]["effect"] == "delete"
    assert {"invoice.issued", "invoice.paid"} <= set(asyncapi()["channels"]["eventTopic"]["messages"])

    assert lambda_handler({"Records": [raw(issued)]}, None) == {"batchItemFailures": []}
    with psycopg.connect(service_environment["DATABASE_URL"], autocommit=True) as connection:
        live = connection.execute('SELECT "itemType", "notificationData"::json ->> \'amount\' FROM "notification"')
        assert live.fetchall() == [("invoice", "12.5")]
        assert lambda_handler({"Records": [raw(paid)]}, None) == {"batchItemFailures": []}
        assert connection.execute('SELECT FROM "notification"').fetchall() == []
    facts = sorted(published(aws, 2), key=lambda fact: str(fact["occurredAt"]))
    assert [fact["eventType"] for fact in facts] == ["notification:created", "notification:deleted"]
