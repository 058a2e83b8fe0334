"""An erasure finds what is encoded in texts, in the event store and in PostgreSQL, and its read-back does too."""

import json
from pathlib import Path

import pytest

from event_service.forget.__main__ import main
from tests.support.event_items import readable_texts
from tests.support.world import World

INPUT = Path(__file__).parents[2] / "inputs" / "forget-escaped-url.json"


def test_encoded_urls_and_addresses_are_erased(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.accept(*json.loads(INPUT.read_text())["Records"])
    assert main(["--user", "bob", "--yes"]) == 0
    capsys.readouterr()
    everything = [str(readable_texts(world.aws)), str(world.rows()), str(world.outbox())]
    for text in everything:
        assert "zoom" not in text
        assert "user%40example" not in text
    assert world.row()["user_id"] == "bob"
    assert "2027-01-01T09:00:00Z" in everything[0]
