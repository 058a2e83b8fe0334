"""Facts of events that a rebuild applied: it publishes none, and takes none away either."""

import itertools
import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from event_service.adapters.event_store import EventStore
from event_service.adapters.notifications import Notifications
from event_service.errors import Unavailable
from event_service.handler import lambda_handler
from event_service.pipeline import parse
from event_service.rebuild.rebuild import rebuild
from local.stack import Stack
from tests.support.aws import Aws
from tests.support.aws import published as published_facts
from tests.support.event_items import facts as stored_facts
from tests.support.histories import HISTORIES, deliver, record, seed
from tests.support.histories import rebuild_job as job
from tests.support.messages import Json
from tests.support.tables import execute
from tests.support.tables import printed_rows as rows

_examples = itertools.count()


def append_only(stack: Stack, aws: Aws, records: Sequence[Json]) -> None:
    """Do what is left of a batch that died between append and apply."""
    events = [event for event in (parse(each).event for each in records) if event is not None]
    assert len(events) == len(records)
    seed(stack.endpoint_url, aws.table, events)


def kinds(aws: Aws) -> list[tuple[str, str]]:
    """What facts say, with the number of the event that caused each."""
    return sorted(
        (fact["causationId"].rpartition("-")[2], fact["eventType"].partition(":")[2]) for fact in stored_facts(aws)
    )


def published(aws: Aws) -> Counter[str]:
    """The ids of the facts on the topic since the last call."""
    return Counter(fact["id"] for fact in published_facts(aws))


CREATED, UPDATED = record("reminder:created", "user", "item", 1), record("reminder:updated", "user", "item", 2)
DELETED, RECREATED = record("reminder:deleted", "user", "item", 3), record("reminder:created", "user", "item", 4)
SPARE = record("reminder:deleted", "user", "item", 5)


@pytest.mark.parametrize(
    ("applied", "appended", "facts"),
    [
        ([], [CREATED], [("1", "created")]),
        ([CREATED], [UPDATED], [("1", "created"), ("2", "updated")]),
        ([CREATED], [DELETED], [("1", "created"), ("3", "deleted")]),
        ([DELETED], [RECREATED], [("4", "created")]),
        ([DELETED], [SPARE], []),
        ([], [DELETED], []),
        ([UPDATED], [CREATED], [("2", "created")]),  # overtaken: stored, and no more
        ([CREATED], [UPDATED, DELETED], [("1", "created"), ("3", "deleted")]),
        ([], [CREATED, UPDATED], [("2", "created")]),
        ([], [CREATED, DELETED], []),  # nobody has heard of it
        ([CREATED], [DELETED, RECREATED], [("1", "created"), ("4", "updated")]),
    ],
)
def test_an_event_that_a_rebuild_applied_first_has_its_fact_when_it_comes_back(
    applied: list[Json],
    appended: list[Json],
    facts: list[tuple[str, str]],
    aws: Aws,
    service_environment: dict[str, str],
    stack: Stack,
) -> None:
    """If it decides, and once, whatever comes back; the kind is that for whoever was told of the last."""
    deliver(applied)
    append_only(stack, aws, appended)
    rebuild(job(service_environment))
    assert len(stored_facts(aws)) == len([fact for fact in facts if fact[0] in {number_of(each) for each in applied}])

    for _ in range(2):
        deliver([*appended, *applied])
        rebuild(job(service_environment))

    assert kinds(aws) == facts
    assert published(aws) == Counter(fact["id"] for fact in stored_facts(aws))
    assert execute(service_environment["DATABASE_URL"], "SELECT FROM outbox") == []


def number_of(each: Json) -> str:
    return str(each["messageId"]).rpartition("-")[2]


def test_the_fact_tells_the_notification(aws: Aws, service_environment: dict[str, str], stack: Stack) -> None:
    """Every digit of it, and when it all began."""
    updated = UPDATED | {"body": UPDATED["body"].replace("1.50", '1.50, "e": 1E+2, "twice": {"b": 1, "b": -0.0}')}
    deliver([CREATED])
    append_only(stack, aws, [updated])
    rebuild(job(service_environment))
    published(aws)
    deliver([updated, updated | {"body": updated["body"].replace(", ", ",  ")}])
    (item,) = [fact for fact in stored_facts(aws) if fact["eventType"] == "notification:updated"]
    key = {name: {"S": item[name]} for name in ("pk", "sk")}
    data = aws.dynamodb.get_item(TableName=aws.table, Key=key)["Item"]["eventData"]["S"]
    assert '"amount":1.50,"e":1E+2,"twice":{"b":1,"b":-0.0}' in data.replace(" ", "")
    assert json.loads(data)["createdAt"] == "2026-11-23T12:00:01.000000Z"
    assert json.loads(data)["updatedAt"] == "2026-11-23T12:00:02.000000Z"


def test_an_emptied_table_is_rebuilt_and_nothing_published_again(
    aws: Aws, service_environment: dict[str, str], stack: Stack
) -> None:
    """Whatever comes back; but the one event that had no fact yet has it then."""
    records = [record("reminder:created", "user", f"item-{number}", number) for number in range(30)]
    deliver(records)
    append_only(stack, aws, [pending := record("reminder:updated", "user", "item-7", 50)])
    assert published(aws).total() == 30
    execute(service_environment["DATABASE_URL"], "TRUNCATE notifications")
    rebuild(job(service_environment))

    deliver([*records, pending, *records])

    assert published(aws).total() == 1
    assert ("50", "updated") in kinds(aws)


def history_of(events: list[Any], user: str) -> dict[str, Json]:
    """The records of generated events by id, in the order in which they decide."""
    records = (record(event_type, user, f"{item}-{user}", second) for event_type, item, second, _ in events)
    return {str(each["messageId"]): each for each in sorted(records, key=rank)}


def rank(each: Json) -> tuple[str, bool, str, str]:
    event = parse(each).event
    assert event
    return event.rank


def facts_due(rows_before: dict[str, tuple[tuple[Any, ...], bool]], pending: list[Json]) -> Counter[tuple[str, str]]:
    """The facts of the last of these events of each item, that come to rows with a rank each, live or not."""
    due: Counter[tuple[str, str]] = Counter()
    events = [event for each in sorted(pending, key=rank) if (event := parse(each).event) and event.effect]
    for event in {event.item_id: event for event in events}.values():
        before, live = rows_before.get(event.item_id, ((), False))
        if event.rank > before and (live or event.effect == "upsert"):
            kind = "deleted" if event.effect == "delete" else "updated" if live else "created"
            due[event.id, f"notification:{kind}"] += 1
    return due


@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=HISTORIES, data=st.data())
def test_every_notification_is_told_as_it_is_whenever_a_rebuild_runs(
    aws: Aws, service_environment: dict[str, str], stack: Stack, events: list[Any], data: st.DataObject
) -> None:
    """Of any history, delivered in any order, of which any part was appended only: one fact where there was none."""
    user, url = f"user-{next(_examples)}", service_environment["DATABASE_URL"]
    known = {fact["id"] for fact in stored_facts(aws)}
    published(aws)
    records = data.draw(st.permutations([*history_of(events, user).values()]))
    cut = data.draw(st.integers(0, len(records)))
    deliver(records[:cut], 3)
    told = Counter((fact["causationId"], fact["eventType"]) for fact in stored_facts(aws) if fact["id"] not in known)
    before = {
        item_id: ((instant, deleted, event_id, pk), not deleted)
        for item_id, instant, deleted, event_id, pk in execute(
            url,
            """SELECT item_id, to_char(updated_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),"""
            " deleted_at IS NOT NULL, event_id, event_pk FROM notifications WHERE user_id = %s",
            (user,),
        )
    }
    append_only(stack, aws, records[cut:])
    for _ in range(data.draw(st.integers(1, 2))):
        rebuild(job(service_environment))
    live = rows(url)
    deliver(data.draw(st.permutations(records)), 3)

    facts = [fact for fact in stored_facts(aws) if fact["id"] not in known]
    due = told + facts_due(before, records[cut:])
    assert Counter((fact["causationId"], fact["eventType"]) for fact in facts) == due
    assert published(aws) == Counter(fact["id"] for fact in facts)
    assert rows(url) == live
    assert execute(url, "SELECT FROM outbox") == []


@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=HISTORIES, data=st.data())
def test_after_a_rebuild_of_an_emptied_table_nothing_is_told_again(
    aws: Aws, service_environment: dict[str, str], stack: Stack, events: list[Any], data: st.DataObject
) -> None:
    """Of any history, in whatever order it was delivered and comes back."""
    user, url = f"user-{next(_examples)}", service_environment["DATABASE_URL"]
    records = data.draw(st.permutations([*history_of(events, user).values()]))
    deliver(records, 3)
    published(aws)
    facts = stored_facts(aws)
    execute(url, "TRUNCATE notifications")
    rebuild(job(service_environment, segments=data.draw(st.integers(1, 5))))
    live = rows(url)
    deliver(data.draw(st.permutations(records)), data.draw(st.integers(1, 9)))

    assert (stored_facts(aws), published(aws).total(), rows(url)) == (facts, 0, live)


def test_an_event_of_the_same_instant_in_another_stream_has_its_fact(
    aws: Aws, service_environment: dict[str, str], stack: Stack
) -> None:
    """It decides by its id only."""
    deliver([record("notification:update", "user", "item", 2)])
    append_only(stack, aws, [pending := record("reminder:created", "user", "item", 2)])
    rebuild(job(service_environment))
    deliver([pending])
    assert kinds(aws) == [("2", "created"), ("2", "updated")]


def test_the_last_of_many_facts_of_one_instant_is_found(
    aws: Aws, service_environment: dict[str, str], stack: Stack
) -> None:
    """They stand in the event store in the order of their own ids, more than one page of them."""
    records = [record("reminder:updated", "user", "item", 1, id=f"id-{number}") for number in range(10, 40)]
    deliver(records[:-2], 1)
    append_only(stack, aws, records[-2:-1])
    rebuild(job(service_environment))
    deliver(records[-3:-1])
    assert kinds(aws) == [("10", "created"), *((str(number), "updated") for number in range(11, 39))]
    append_only(stack, aws, [deletion := record("reminder:deleted", "user", "item", 1, id="id-50")])
    rebuild(job(service_environment))
    deliver([deletion, *records])
    assert kinds(aws)[-1] == ("50", "deleted")
    assert len(kinds(aws)) == 30


def test_events_that_have_no_fact_after_the_table_was_emptied_get_one_of_the_right_kind(
    aws: Aws, service_environment: dict[str, str], stack: Stack
) -> None:
    """Whichever stream of an item the rebuild comes to first."""
    items = [f"item-{number}" for number in range(20)]
    deliver([record("reminder:created", "user", item, 1) for item in items])
    pending = [
        record("notification:delete" if number % 2 else "notification:update", "user", item, 2)
        for number, item in enumerate(items)
    ]
    append_only(stack, aws, pending)
    execute(service_environment["DATABASE_URL"], "TRUNCATE notifications")
    rebuild(job(service_environment, segments=4))
    deliver(pending)
    assert Counter(kind for _, kind in kinds(aws)) == {"created": 20, "deleted": 10, "updated": 10}


@pytest.mark.parametrize("times", [1, 2])
def test_a_rebuild_in_the_middle_of_a_batch_takes_no_fact_away(
    times: int, aws: Aws, service_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between append and apply, where every event is for a moment, be it once or twice in the batch."""
    deliver([CREATED])
    apply = Notifications.apply

    def rebuild_first(self: Notifications, events: Any, deadline: Any) -> Any:
        rebuild(job(service_environment))
        return apply(self, events, deadline)

    monkeypatch.setattr(Notifications, "apply", rebuild_first)
    deliver([UPDATED] * times)
    assert kinds(aws) == [("1", "created"), ("2", "updated")]
    deliver([UPDATED, CREATED] * times)
    assert published(aws) == Counter(fact["id"] for fact in stored_facts(aws))
    assert len(stored_facts(aws)) == 2


def test_odd_ids_and_the_first_and_last_instants_have_their_facts(
    aws: Aws, service_environment: dict[str, str], stack: Stack
) -> None:
    """Ids with what separates keys and with what SQL and JSON quote, at the first and the last instant."""
    names = ["#", "a#b", "'\"\\", "日本語😀", "x" * 250]
    instants = ["0001-01-01T00:00:00Z", "1969-12-31T23:59:59.5-11:00", "9999-12-31T23:59:59.999999Z"]
    records: list[Json] = []
    for user, item, instant in itertools.product(names, names, instants):
        each = record("reminder:created", user, item, 1, id=f"{item[:9]}-{len(records)}")
        records.append(each | {"body": each["body"].replace("2026-11-23T12:00:01Z", instant)})
    append_only(stack, aws, records)
    rebuild(job(service_environment))
    live = rows(service_environment["DATABASE_URL"])
    deliver(records, len(records))
    assert len(live) == len(stored_facts(aws)) == published(aws).total() == len(names) ** 2
    assert {fact["sk"][:4] for fact in stored_facts(aws)} == {"9999"}
    deliver(records, len(records))
    assert (published(aws).total(), rows(service_environment["DATABASE_URL"])) == (0, live)


def test_while_nobody_knows_whether_there_is_a_fact_the_record_fails(
    aws: Aws, service_environment: dict[str, str], stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record that was never stored before goes through."""
    append_only(stack, aws, [CREATED])
    rebuild(job(service_environment))
    other = record("reminder:created", "user", "other", 1)
    unavailable = Unavailable("event_store", "is away", retryable=False)
    with monkeypatch.context() as patched:
        patched.setattr(EventStore, "last_facts", lambda _, ids, __: [unavailable for _ in ids])
        answer = lambda_handler({"Records": [CREATED, other]}, None)
    assert answer == {"batchItemFailures": [{"itemIdentifier": CREATED["messageId"]}]}
    assert kinds(aws) == [("1", "created")]  # of the other
    deliver([CREATED])
    assert len(kinds(aws)) == 2
