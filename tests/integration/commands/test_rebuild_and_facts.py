"""Facts of events that a rebuild applied: it publishes none, and suppresses none."""

import itertools
import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from event_service.adapters.notifications import Notifications
from event_service.adapters.upkeep import NOTIFICATIONS
from event_service.rebuild import rebuild as module
from event_service.rebuild.progress import EVENTS, FACTS
from event_service.rebuild.rebuild import compare, rebuild
from event_service.steps.parse import parse
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
    """The kind of each fact, with the number of the event that caused it."""
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
        ([UPDATED], [CREATED], [("2", "created")]),  # overtaken: only stored
        ([CREATED], [UPDATED, DELETED], [("1", "created"), ("3", "deleted")]),
        ([], [CREATED, UPDATED], [("2", "created")]),
        ([], [CREATED, DELETED], []),  # subscribers were never told of it
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
    """If it decides, and once, whatever comes back; the kind follows from what subscribers were last told."""
    deliver(applied)
    append_only(stack, aws, appended)
    rebuild(job(service_environment))
    assert len(stored_facts(aws)) == len([fact for fact in facts if fact[0] in {number_of(each) for each in applied}])

    for _ in range(2):
        deliver([*appended, *applied])
        rebuild(job(service_environment))

    assert kinds(aws) == facts
    assert published(aws) == Counter(fact["id"] for fact in stored_facts(aws))
    assert execute(service_environment["DATABASE_URL"], "SELECT 1 FROM outbox") == []


def number_of(each: Json) -> str:
    return str(each["messageId"]).rpartition("-")[2]


def test_the_fact_tells_the_notification(aws: Aws, service_environment: dict[str, str], stack: Stack) -> None:
    """With every digit, and when it was first seen."""
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
    """Redeliveries add nothing but the fact of the one event that had none yet."""
    records = [record("reminder:created", "user", f"item-{number}", number) for number in range(30)]
    deliver(records)
    append_only(stack, aws, [pending := record("reminder:updated", "user", "item-7", 50)])
    assert published(aws).total() == 30
    execute(service_environment["DATABASE_URL"], "TRUNCATE notifications")
    rebuild(job(service_environment))

    deliver([*records, pending, *records])

    assert published(aws).total() == 1
    assert ("50", "updated") in kinds(aws)


@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=HISTORIES, data=st.data())
def test_after_a_rebuild_of_an_emptied_table_nothing_is_told_again(
    aws: Aws, service_environment: dict[str, str], stack: Stack, events: list[Any], data: st.DataObject
) -> None:
    """Of any history, in any order of delivery and redelivery."""
    user, url = f"user-{next(_examples)}", service_environment["DATABASE_URL"]
    drawn = [record(event_type, user, f"{item}-{user}", second) for event_type, item, second, _ in events]
    records = data.draw(st.permutations([*{str(each["messageId"]): each for each in drawn}.values()]))
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
    append_only(stack, aws, [pending := record("reminder:updated", "user", "item", 2)])
    rebuild(job(service_environment))
    deliver([pending])
    assert kinds(aws) == [("2", "created"), ("2", "updated")]


def test_the_last_of_many_facts_of_one_instant_is_found(
    aws: Aws, service_environment: dict[str, str], stack: Stack
) -> None:
    """The event store orders facts by their ids, not by their causes."""
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
    """Whichever stream of an item the rebuild reads first."""
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
def test_a_rebuild_in_the_middle_of_a_batch_suppresses_no_fact(
    times: int, aws: Aws, service_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between append and apply, whether an event is in the batch once or twice."""
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
    """Ids with characters that separate keys or need quoting, at the first and the last instant that is accepted."""
    names = ["#", "a#b", "'\"\\", "日本語😀", "x" * 250]
    instants = ["0001-01-01T00:00:00Z", "1969-12-31T23:59:59.5-11:00", "2026-11-24T11:59:59.999999Z"]
    records: list[Json] = []
    for user, item, instant in itertools.product(names, names, instants):
        each = record("reminder:created", user, item, 1, id=f"{item[:9]}-{len(records)}")
        records.append(each | {"body": each["body"].replace("2026-11-23T12:00:01Z", instant)})
    append_only(stack, aws, records)
    rebuild(job(service_environment))
    live = rows(service_environment["DATABASE_URL"])
    deliver(records, len(records))
    assert len(live) == len(stored_facts(aws)) == published(aws).total() == len(names) ** 2
    assert {fact["sk"][:4] for fact in stored_facts(aws)} == {"2026"}
    deliver(records, len(records))
    assert (published(aws).total(), rows(service_environment["DATABASE_URL"])) == (0, live)


class Interrupted(Exception):
    """Raised in place of the events phase."""


def test_a_rebuild_that_is_resumed_after_a_comparison_still_knows_the_facts(
    aws: Aws, service_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The comparison uses the same tables for its own progress."""
    deliver([CREATED, UPDATED])
    execute(service_environment["DATABASE_URL"], "DELETE FROM notifications")
    deliver([record("reminder:created", "user", "other", 1)])  # an empty table would make a new start
    scan = module._scan

    def interrupted(connection: Any, its_job: Any, phase: str, *others: Any) -> None:
        if phase == EVENTS and its_job.target == NOTIFICATIONS:
            raise Interrupted
        scan(connection, its_job, phase, *others)

    with monkeypatch.context() as patched:
        patched.setattr(module, "_scan", interrupted)
        with pytest.raises(Interrupted):
            rebuild(job(service_environment))
    phases = execute(
        service_environment["DATABASE_URL"], "SELECT phase, bool_and(done) FROM rebuild_progress GROUP BY 1"
    )
    assert dict(phases) == {FACTS: True, EVENTS: False}
    compare(job(service_environment))
    rebuild(job(service_environment))
    published(aws)

    deliver([CREATED, UPDATED])

    assert published(aws).total() == 0


def test_an_item_of_a_facts_type_without_an_id_is_no_obstacle(aws: Aws, service_environment: dict[str, str]) -> None:
    """Another writer may have put it there."""
    item: Any = {"pk": {"S": "notification#x"}, "sk": {"S": "x"}, "eventType": {"S": "notification:created"}}
    aws.dynamodb.put_item(TableName=aws.table, Item=item)
    deliver([CREATED])
    execute(service_environment["DATABASE_URL"], "TRUNCATE notifications")
    rebuild(job(service_environment))
    deliver([CREATED])
    assert published(aws).total() == 1
