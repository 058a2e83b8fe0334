"""Cases of one rule in one batch, good records between them: who was refused, and what the log says of it."""

import base64
import random
from collections.abc import Mapping
from typing import Any

from .records import Attributes, Record, raw, text, wrapped
from .world import World

REMINDER = {"eventType": "reminder:created", "eventItemType": "reminder"}
NOTE = {"eventType": "note:added", "eventItemType": "note"}

# Standing for what must never reach a log line.
ADDRESS = "private.person@example.org"
PAYLOAD = "between-us-only"


def reminder_data(**changes: Any) -> dict[str, Any]:
    """A reminder's data; a field given as `...` is left out."""
    data = {
        "id": "R1",
        "userId": "user-a",
        "date": "2027-01-01T08:00:00.000Z",
        "isRecurring": False,
        "notifyOffset": 0,
        "notifyType": "push",
        "message": PAYLOAD,
        "url": None,
        "createdAt": "2026-11-23T06:00:00.000Z",
        "updatedAt": "2026-11-23T06:00:00.000Z",
    } | changes
    return {name: value for name, value in data.items() if value is not ...}


def legacy(**changes: Any) -> dict[str, Any]:
    """A legacy body with its own item; a field given as `...` is left out."""
    body = {
        "userId": "user-a",
        "userEmail": ADDRESS,
        "itemId": "R1",
        "eventData": reminder_data(),
    } | changes
    return {name: value for name, value in body.items() if value is not ...}


def native(**changes: Any) -> dict[str, Any]:
    """A native body of type reminder:created; a field given as `...` is left out."""
    own = {
        "id": "event-1",
        "occurredAt": "2026-11-23T06:00:00Z",
        "eventType": "reminder:created",
        "itemType": "reminder",
    }
    body = own | legacy() | changes
    return {name: value for name, value in body.items() if value is not ...}


def cloudevent(**changes: Any) -> dict[str, Any]:
    """A CloudEvent of type reminder:created; a field given as `...` is left out."""
    body = {
        "specversion": "1.0",
        "id": "1",
        "source": "/reminders",
        "type": "reminder:created",
        "time": "2026-11-23T06:00:00Z",
        "subject": "R1",
        "data": {"userId": "user-a", "userEmail": ADDRESS, "eventData": reminder_data()},
    } | changes
    return {name: value for name, value in body.items() if value is not ...}


def sent(body: Any, attributes: Attributes | None = None) -> Record:
    """A wrapped record of an event given as a value, or as text where its exact form matters."""
    return wrapped(body if isinstance(body, str) else text(body), attributes)


def good(number: int) -> Record:
    """A neighbour that nothing is wrong with."""
    return raw(text(native(id=f"good-{number}", itemId=f"good-{number}")))


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


def note(data_text: str, name: str = "", **fields: Any) -> str:
    """A native event of an unknown type with the given text as its data."""
    own = {"id": name or "1", "occurredAt": "2026-11-23T06:00:00Z", "eventType": "note:added"}
    head = own | {"userId": "user-a", "itemId": name or "item"} | fields
    return f'{{"eventData":{data_text},{text(head)[1:]}'


def noise(size: int) -> str:
    """Text that gzip can hardly make smaller than three quarters of its size; the same every time."""
    return base64.b64encode(random.Random(size).randbytes(size * 3 // 4)).decode()


def nested(levels: int) -> Any:
    """A value of so many levels of arrays and objects in turn."""
    value: Any = [] if levels % 2 else {}
    for level in range(levels - 1):
        value = {"a": value} if (levels - level) % 2 == 0 else [value]
    return value


def spliced(body: dict[str, Any], member: str) -> str:
    """A body's text with one more member, written as given, in its `eventData`."""
    return text(body).replace('"eventData":{', f'"eventData":{{{member},', 1)
