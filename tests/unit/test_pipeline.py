import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from event_service.adapters.event_store import EventStore
from event_service.adapters.notifications import Notifications
from event_service.adapters.postgres import Database
from event_service.adapters.topics import Topic
from event_service.config import DatabaseSettings
from event_service.deadline import Deadline
from event_service.pipeline import Backends, process
from event_service.steps.parse import parse
from event_service.steps.relay import Relay
from tests.support.messages import CREATED, legacy, raw


def test_parsing_ends_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Records that were not read in time are reported as late, not as rejected, and nothing more is sent."""

    def slow(record: Any) -> Any:
        time.sleep(0.2)
        return parse(record)

    monkeypatch.setattr("event_service.pipeline.parse", slow)
    with ThreadPoolExecutor(1) as pool:
        relay = Relay(
            event_store=EventStore(None, "table", pool),
            notifications=Notifications(Database(DatabaseSettings(), lambda: None, pool)),
            topic=Topic(None, "topic", pool),
            background=pool,
        )
        bad, good = raw("not JSON"), raw(legacy(), CREATED)
        result = process([bad, good, good, bad], Backends(relay), Deadline.after(0.3))
    assert [outcome.error and outcome.error.reason for outcome in result.outcomes] == ["not_json", *["deadline"] * 3]
