"""The event types: their schemas agree with the function, and the committed document with the code."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator, Draft202012Validator

from event_service.catalogue.document import asyncapi, event_types
from event_service.domain.event import FACT_TYPES, KNOWN_TYPES
from event_service.steps.parse import parse
from tests.support.messages import CREATED, Json, cloud_event, legacy, native, raw
from tests.support.samples import RECORDS, message

ROOT = Path(__file__).parents[3]
TYPES = {each["name"]: each for each in event_types()}
EXAMPLES = [
    pytest.param(name, example, id=f"{name} {example['name']}") for name in TYPES for example in TYPES[name]["examples"]
]


def test_the_catalogue_has_every_type_with_an_effect_and_every_fact() -> None:
    """With its effect and its subject: commands concern the reminder."""
    assert list(TYPES) == [*KNOWN_TYPES, *sorted(FACT_TYPES)]
    assert {name: (each["effect"], each["subject"]) for name, each in TYPES.items()} == {
        "reminder:created": ("create", "reminder"),
        "reminder:updated": ("update", "reminder"),
        "reminder:deleted": ("delete", "reminder"),
        "notification:create": ("create", "reminder"),
        "notification:update": ("update", "reminder"),
        "notification:delete": ("delete", "reminder"),
        **dict.fromkeys(FACT_TYPES, (None, None)),
    }


def test_help_does_not_print_the_document() -> None:
    """It explains the command."""
    command = [sys.executable, "-m", "event_service.catalogue", "--help"]
    printed = subprocess.run(command, capture_output=True, check=True, cwd=ROOT, text=True).stdout
    assert printed.startswith("usage: python -m event_service.catalogue")
    assert '"asyncapi"' not in printed


def test_the_committed_document_is_up_to_date() -> None:
    """After a change of types or models: `python -m event_service.catalogue > docs/asyncapi.json`."""
    printed = subprocess.run(
        [sys.executable, "-m", "event_service.catalogue"], capture_output=True, check=True, cwd=ROOT
    )
    assert (ROOT / "docs" / "asyncapi.json").read_bytes() == printed.stdout


@pytest.mark.parametrize(("name", "example"), EXAMPLES)
def test_an_example_is_accepted_and_matches_its_schema(name: str, example: Json) -> None:
    """Sent with its headers as message attributes, it is an event of its type."""
    record = raw(json.dumps(example["payload"]), example["headers"].get("eventType"))
    entry = parse(record)
    assert entry.error is None
    assert entry.event is not None
    assert entry.event.event_type == name
    Draft202012Validator(TYPES[name]["messageSchema"]).validate(example["payload"])


@pytest.mark.parametrize("sample", sorted(set(RECORDS) - {"one-good-several-bad"}))
def test_a_sample_matches_the_schema_of_its_type(sample: str) -> None:
    """The files in events/ are what the catalogue describes."""
    for record in RECORDS[sample]:
        event = parse(record).event
        assert event is not None
        if event.event_type in TYPES:
            Draft202012Validator(TYPES[event.event_type]["messageSchema"]).validate(json.loads(message(record)))


def test_the_first_example_is_the_first_sample() -> None:
    """The catalogue and events/ agree."""
    (record,) = RECORDS["reminder-created"]
    assert TYPES["reminder:created"]["examples"][0]["payload"] == json.loads(message(record))


BAD = {
    "no user": legacy(userId=...),
    "an empty item": legacy(itemId=""),
    "no date": legacy(eventData={"message": "x"}),
    "data of the wrong type": legacy(eventData=[]),
    "an id without a time": native(occurredAt=..., eventType="reminder:created"),
    "a wrong type in a CloudEvent": cloud_event(type="Reminder"),
    "a CloudEvent without source": cloud_event(source=...),
    "a CloudEvent of another version": cloud_event(specversion="0.3"),
    "another item type": legacy(itemType="order"),
    "another item type in a CloudEvent": cloud_event(itemtype="order"),
    "an item type that is not a string": legacy(itemType=5),
    "a causation id that is not a string": legacy(causationId=5),
}


@pytest.mark.parametrize("name", BAD)
def test_what_the_function_rejects_does_not_match_the_schema(name: str) -> None:
    """The schema of a type requires the same fields and forms as the function."""
    assert parse(raw(BAD[name], CREATED)).error is not None
    assert not Draft202012Validator(TYPES["reminder:created"]["messageSchema"]).is_valid(BAD[name])


def test_a_time_without_an_id_is_accepted() -> None:
    """The id is then that of the envelope."""
    event = legacy(occurredAt="2026-11-23T08:00:00Z")
    assert parse(raw(event, CREATED)).error is None
    Draft202012Validator(TYPES["reminder:created"]["messageSchema"]).validate(event)


def test_the_document_is_consistent() -> None:
    """Every reference resolves, every schema is valid, and its examples match it."""
    document = asyncapi()
    assert document["asyncapi"] == "3.0.0"
    assert {"title", "version"} <= set(document["info"])
    for reference in re.findall(r'"\$ref": "#/([^"]+)"', json.dumps(document)):
        target: Any = document
        for step in reference.split("/"):
            target = target[step]
    used = {operation["channel"]["$ref"].rpartition("/")[2] for operation in document["operations"].values()}
    assert used == set(document["channels"])
    assert {operation["action"] for operation in document["operations"].values()} == {"send", "receive"}
    sent = [key for channel in document["channels"].values() for key in channel["messages"]]
    assert sorted(sent) == sorted(document["components"]["messages"])
    for key, each in document["components"]["messages"].items():
        assert re.fullmatch(r"[\w.-]+", key)
        schemas = {"components": document["components"]}
        for part, part_schema in (("headers", each["headers"]), ("payload", each["payload"])):
            Draft7Validator.check_schema(part_schema)
            for example in each.get("examples", []):
                Draft7Validator(part_schema | schemas).validate(example[part])


def test_the_function_does_not_load_the_catalogue() -> None:
    """Cold starts do not load what only operators and producers use."""
    program = (
        "import sys, event_service.handler\n"
        "print([name for name in sys.modules if name.endswith(('.catalogue', '.check', '.rebuild', '.forget'))"
        " and name.startswith('event_service.')])"
    )
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True, cwd=ROOT)
    assert loaded.stdout.strip() == "[]"
