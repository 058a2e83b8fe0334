"""Cases of one rule in one batch, with good records between them: which are refused, and what the log says."""

from collections.abc import Mapping
from typing import Any

from tests.support.messages import ADDRESS, PAYLOAD, Record, native, raw
from tests.support.world import World


def good(number: int) -> Record:
    """A neighbour that nothing is wrong with."""
    return raw(native(id=f"good-{number}", itemId=f"good-{number}"))


def refused(world: World, cases: Mapping[str, Record]) -> dict[str, str]:
    """Deliver the cases in one batch, a good record around each; the refused ones with the field logged.

    The good records are all stored, applied and published; of a refused one nothing is. Each refused record
    has one log line, with its reason and without its payload or e-mail address; an accepted one has none.
    """
    batch = [good(0)]
    for number, record in enumerate(cases.values(), start=1):
        batch += [record, good(number)]
    answer = world.invoke(batch)
    found = {name: record for name, record in cases.items() if record["messageId"] in answer.failed}
    assert len(found) == len(answer.failed), answer.lines
    assert_only_accepted(world, len(cases) - len(found), len(cases) + 1)
    for name, record in cases.items():
        assert len(answer.entries(record)) == (name in found), name
    log = "\n".join(answer.lines)
    assert ADDRESS not in log
    assert PAYLOAD not in log
    return {name: field_logged(answer.entries(record)[0]) for name, record in found.items()}


def field_logged(entry: dict[str, Any]) -> str:
    assert entry["message"] == "record failed"
    assert entry["reason"]
    assert entry["error"]
    return str(entry["field"])


def assert_only_accepted(world: World, accepted: int, neighbours: int) -> None:
    """The store, the notifications and the published facts hold the neighbours and the accepted cases only."""
    events = world.events()
    assert len(events) == accepted + neighbours
    ids = {item["id"] for item in events.values()}
    assert {f"good-{number}" for number in range(neighbours)} <= ids
    items = {row["item_id"] for row in world.rows().values()}
    assert {f"good-{number}" for number in range(neighbours)} <= items
    causes = {message.body["causationId"] for message in world.published()}
    assert {f"good-{number}" for number in range(neighbours)} <= causes <= ids
    assert world.outbox() == []
