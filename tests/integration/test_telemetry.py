"""Every line of the log, with exactly its fields, and every metric."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from event_service import sweeper
from event_service.adapters.topics import Topic
from event_service.deadline import Deadline
from event_service.domain.event import Event
from event_service.errors import RecordError, Unavailable
from tests.contract.interrupted import leave_behind, reminder
from tests.support.messages import CREATED, DELETED, NOTE, UPDATED, Record, legacy, native, raw, reminder_data
from tests.support.world import Answer, World, captured_logs

# What Powertools adds to every line, see
# https://docs.aws.amazon.com/powertools/python/latest/core/logger/#standard-structured-keys
STANDARD = {"level", "location", "message", "timestamp", "service"}
COUNTS = {
    "EventsReceived",
    "EventsStored",
    "DuplicateEvents",
    "EventsSuperseded",
    "EventsRejected",
    "RecordsFailed",
    "FactsPublished",
}


def lines(answer: Answer) -> list[dict[str, Any]]:
    """The log's lines without the metrics, each without what differs from run to run; no line has another shape."""
    logged = [line for line in map(json.loads, answer.lines) if "_aws" not in line]
    for line in logged:
        assert line.keys() >= STANDARD
        assert line["service"] == "event-service"
    left_out = STANDARD - {"level", "message"}
    return [{name: value for name, value in line.items() if name not in left_out} for line in logged]


def metrics(answer: Answer) -> list[dict[str, Any]]:
    """The metrics in CloudWatch's embedded format, each blob with its dimensions; their units are checked."""
    blobs = []
    for line in map(json.loads, answer.lines):
        if "_aws" not in line:
            continue
        (directive,) = line.pop("_aws")["CloudWatchMetrics"]
        assert directive["Namespace"] == "EventService"
        (dimensions,) = directive["Dimensions"]
        for metric in directive["Metrics"]:
            seconds = metric["Name"] in ("OldestEventAge", "NotificationLateness", "OutboxOldestAge")
            assert metric["Unit"] == ("Seconds" if seconds else "Count")
        assert line.keys() == {*dimensions, *(metric["Name"] for metric in directive["Metrics"])}
        assert line["service"] == "event-service"
        blobs.append({name: value[0] if isinstance(value, list) else value for name, value in line.items()})
    return blobs


def counts(**others: int) -> dict[str, Any]:
    return {"service": "event-service"} | dict.fromkeys(COUNTS, 0) | others


def without_age(blob: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in blob.items() if name != "OldestEventAge"}


def failed(record: Record, **fields: Any) -> dict[str, Any]:
    """The line of a failed record."""
    return {"level": "WARNING", "message": "record failed", "message_id": record["messageId"], **fields}


def test_a_failed_record_has_one_line(world: World) -> None:
    """With the ids if there is an event, the reason, the field and the error, and nothing else of the event."""
    malformed = raw("{", CREATED)
    undated = raw(native(eventData=reminder_data(date=...)))
    answer = world.invoke([malformed, undated, raw(native(id="good", itemId="good"))])
    not_json, missing = lines(answer)
    assert not_json.pop("error")
    assert not_json == failed(malformed, reason="not_json", field="body", handed_over=False)
    assert missing == failed(
        undated,
        event_id="event-1",
        event_type=CREATED,
        reason="invalid_field",
        field="eventData.date",
        error="eventData.date: is missing",
        handed_over=False,
    )


def test_a_record_that_a_backend_failed_has_no_field_at_fault(world: World) -> None:
    """Its reason is the backend."""
    record = reminder("c", 1, CREATED)
    with world.without_topic():
        answer = world.invoke([record])
    assert lines(answer) == [
        failed(
            record,
            event_id="c",
            event_type=CREATED,
            reason="notification_topic",
            error="answered NotFound",
        )
    ]


def test_a_batch_that_succeeds_logs_nothing(world: World) -> None:
    """Logs cost money: what goes well is in the metrics."""
    assert lines(world.invoke([reminder("c", 1, CREATED), reminder("c", 1, CREATED)])) == []


def test_an_orphaned_fact_that_does_not_get_out_has_one_line(world: World) -> None:
    """The batch that tried is done all the same."""
    leave_behind(world, reminder("c", 1, CREATED))
    world.tables.age_outbox(16)
    with world.without_topic():
        answer = world.invoke([raw(native(id="n", eventType="note:added", itemId="n"))])
    assert answer.failed == set()
    assert lines(answer) == [
        {
            "level": "WARNING",
            "message": "orphaned fact not published",
            "pk": "reminder#R1",
            "sk": "2026-11-23T06:00:01.000000Z#c",
            "reason": "notification_topic",
            "error": "answered NotFound",
        }
    ]
    assert without_age(metrics(answer)[0]) == counts(EventsReceived=1, EventsStored=1)


def late_reminder(item: str = "item-1", seconds: int = 30, event_type: str = CREATED) -> Record:
    """A reminder published an hour ago that is due in `seconds`, after the scheduler's last query for it."""
    now = datetime.now(UTC)
    data = reminder_data(date=(now + timedelta(seconds=seconds)).isoformat())
    occurred_at = (now - timedelta(hours=1)).isoformat()
    event = native(id="late", eventType=event_type, itemId=item, occurredAt=occurred_at, eventData=data)
    return raw(event, sent=occurred_at)


def test_a_notification_that_the_service_delays_has_one_line_and_two_metrics(world: World) -> None:
    """Its seconds late are the difference of due_at and deliver_at."""
    answer = world.invoke([late_reminder()])
    row = world.row()
    seconds = (row["due_at"] - row["deliver_at"]).total_seconds()
    assert seconds > 0
    assert lines(answer) == [
        {
            "level": "WARNING",
            "message": "notification late",
            "event_id": "late",
            "event_type": CREATED,
            "seconds_late": seconds,
        }
    ]
    assert without_age(metrics(answer)[0]) == counts(
        EventsReceived=1, EventsStored=1, FactsPublished=1, NotificationsLate=1
    ) | {"NotificationLateness": seconds}


def test_a_delay_is_reported_although_the_function_died_before_it_could(world: World) -> None:
    """By the delivery that completes the record, and only by that one."""
    record = late_reminder()
    leave_behind(world, record)  # and with it what was logged
    for expected in (1, 0):
        answer = world.invoke([record])
        assert [line["message"] for line in lines(answer)] == ["notification late"] * expected
        assert metrics(answer)[0].get("NotificationsLate", 0) == expected


def test_the_lateness_of_a_batch_is_that_of_its_latest_notification(world: World) -> None:
    """Each counts, but not a deletion: it makes nothing due."""
    batch = [late_reminder("a", 30), late_reminder("b", -600), late_reminder("c", 20), late_reminder("d", 30, DELETED)]
    blob, *_ = metrics(world.invoke(batch))
    assert blob["NotificationsLate"] == 3
    assert blob["NotificationLateness"] == max(
        (row["due_at"] - row["deliver_at"]).total_seconds() for row in world.rows().values()
    )
    assert blob["NotificationLateness"] > 600


def test_what_takes_two_attempts_is_counted_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the first attempt has achieved stays: the second finds the event stored, and its notification applied."""
    failures = [Unavailable("notification_topic", "for a moment", retryable=True)]
    publish = Topic.publish

    def failing(topic: Topic, facts: Sequence[Event], deadline: Deadline) -> list[RecordError | None]:
        return [failures.pop()] if failures else publish(topic, facts, deadline)

    monkeypatch.setattr(Topic, "publish", failing)
    blob, *_ = metrics(world.invoke([late_reminder()]))
    assert failures == []
    assert blob.pop("NotificationLateness") > 0
    assert without_age(blob) == counts(EventsReceived=1, EventsStored=1, FactsPublished=1, NotificationsLate=1)


def test_a_superseded_event_has_a_line_for_those_who_debug(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not count as a failure: at the usual log level it is only counted, and only once."""
    world.accept(reminder("newer", 9, UPDATED))
    quiet = world.invoke([reminder("older 1", 1, CREATED)])
    assert lines(quiet) == []
    assert without_age(metrics(quiet)[0]) == counts(EventsReceived=1, EventsStored=1, EventsSuperseded=1)
    redelivered = world.invoke([reminder("older 1", 1, CREATED)])
    assert without_age(metrics(redelivered)[0]) == counts(EventsReceived=1, DuplicateEvents=1)
    monkeypatch.setenv("POWERTOOLS_LOG_LEVEL", "DEBUG")
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", "debugged")  # other settings: new telemetry is made
    logged = [json.loads(line) for line in world.invoke([reminder("older 2", 2, CREATED)]).lines]
    (line,) = [line for line in logged if line.get("message") == "event superseded"]
    assert line.keys() == STANDARD | {"event_id", "event_type"}
    assert (line["level"], line["event_id"], line["event_type"]) == ("DEBUG", "older 2", CREATED)


def test_an_event_that_an_outage_held_up_until_it_was_superseded_is_counted(world: World) -> None:
    """Its first delivery could not tell. A repetition of an event that was completed is not counted."""
    record, back = reminder("older", 1, CREATED), {"ApproximateReceiveCount": "2"}
    with world.tables.without_notifications():
        assert world.invoke([record]).failed == {record["messageId"]}
    world.accept(reminder("newer", 2, UPDATED))
    answer = world.invoke([record | {"attributes": record["attributes"] | back}])
    assert without_age(metrics(answer)[0]) == counts(EventsReceived=1, DuplicateEvents=1, EventsSuperseded=1)
    assert metrics(world.invoke([record]))[0]["EventsSuperseded"] == 0


def test_the_metrics_of_a_batch_count_what_became_of_its_records(world: World) -> None:
    """Duplicates and rejections apart; what was stored again by event type, and what failed by reason."""
    first = reminder("c", 1, CREATED)
    world.accept(first)
    batch = [first, reminder("u", 2, UPDATED), raw("{", NOTE), raw("[", NOTE), raw(legacy(itemId=""), NOTE)]
    batch_metrics, *parts = metrics(world.invoke(batch))
    assert batch_metrics.pop("OldestEventAge") >= 0
    assert batch_metrics == counts(
        EventsReceived=5, EventsStored=1, DuplicateEvents=1, EventsRejected=3, RecordsFailed=3, FactsPublished=1
    )
    assert [{name: value for name, value in part.items() if name != "service"} for part in parts] == [
        {"reason": "not_json", "EventsRejected": 2},
        {"reason": "invalid_field", "EventsRejected": 1},
        {"reason": "not_json", "RecordsFailed": 2},
        {"reason": "invalid_field", "RecordsFailed": 1},
        {"eventType": UPDATED, "EventsStored": 1},
    ]


def test_the_age_of_a_batch_is_that_of_its_oldest_event(world: World) -> None:
    """In seconds since it occurred, 0 if a clock is ahead; a batch without an event has none."""
    now = datetime.now(UTC)
    times = [each.isoformat() for each in (now, now - timedelta(hours=1))]
    blob, *_ = metrics(world.invoke([raw(native(id=time, occurredAt=time), sent=time) for time in times]))
    assert 3600 <= blob["OldestEventAge"] < 3660
    assert metrics(world.invoke([raw("{", NOTE)]))[0] == counts(EventsReceived=1, EventsRejected=1, RecordsFailed=1)
    ahead = (now + timedelta(hours=1)).isoformat()
    assert metrics(world.invoke([raw(native(id=ahead, occurredAt=ahead), sent=ahead)]))[0]["OldestEventAge"] == 0


def test_a_fact_of_an_earlier_batch_is_counted_by_the_batch_that_publishes_it(world: World) -> None:
    """Every published fact is counted once."""
    leave_behind(world, reminder("c", 1, CREATED))
    world.tables.age_outbox(16)
    blob, stored = metrics(world.invoke([raw(native(id="n", eventType="note:added", itemId="n"))]))
    assert without_age(blob) == counts(EventsReceived=1, EventsStored=1, FactsPublished=1)
    assert stored == {"service": "event-service", "eventType": "other", "EventsStored": 1}


def test_a_sweep_emits_what_it_published_and_what_waits(world: World) -> None:
    """A fact that it could not publish still waits and is not counted as published."""
    leave_behind(world, reminder("c", 1, CREATED))
    world.tables.age_outbox(16)
    with world.without_topic(), captured_logs() as log:
        sweeper.lambda_handler({}, SimpleNamespace(get_remaining_time_in_millis=lambda: 20_000))
    (blob,) = metrics(Answer(set(), log.getvalue().splitlines()))
    assert 960 <= blob.pop("OutboxOldestAge") < 1020
    assert blob == {"service": "event-service", "FactsPublished": 0, "OutboxFacts": 1}
