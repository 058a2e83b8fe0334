"""A person's personal data is erased everywhere, every event stays, and nothing brings the data back."""

import contextlib
import io
import json
from collections.abc import Callable
from typing import Any

import pytest

from event_service.adapters.notifications import Notifications
from event_service.adapters.postgres import connect
from event_service.adapters.upkeep import SHADOW, exclusive_connection
from event_service.cli import make_patient_client, secrets_client
from event_service.config import DatabaseSettings
from event_service.deadline import Deadline
from event_service.domain.facts import PendingFact, fact_of, message_of
from event_service.errors import Paused
from event_service.forget import erasure as module
from event_service.forget.__main__ import main
from event_service.forget.erasure import Erasure, erase
from event_service.forget.items import replace_item
from event_service.rebuild.progress import RebuildJob
from event_service.rebuild.rebuild import compare, rebuild
from tests.integration.commands.personal_data import DATA, EMAIL, SECRET, of_user, personal
from tests.support.aws import Aws, published
from tests.support.event_items import readable_texts as stored
from tests.support.event_items import scan
from tests.support.histories import deliver, record
from tests.support.messages import raw
from tests.support.tables import execute, lose_rows, outbox
from tests.support.tables import printed_rows as rows


def job(aws: Aws, url: str) -> RebuildJob:
    return RebuildJob(DatabaseSettings(url=url), aws.table, segments=2)


def test_personal_data_goes_and_every_event_stays(aws: Aws, url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Keys, types, ids and times are as before, other people's data too; nothing personal is printed."""
    before = stored(aws)
    assert main(["--user", "user-a", "--yes"]) == 0

    after = stored(aws)
    assert list(after) == list(before)
    for key, item in of_user(after, "user-a").items():
        assert SECRET not in json.dumps(item)
        kept = ("id", "eventType", "userId", "occurredAt", "recordedAt", "causationId")
        assert [item.get(name) for name in kept] == [before[key].get(name) for name in kept]
        assert "userEmail" not in item
        assert item["forgottenAt"]
        assert json.loads(item["eventData"]).get("amount") == json.loads(before[key]["eventData"]).get("amount")
    assert of_user(after, "user-b") == of_user(before, "user-b")
    assert [SECRET in row for (row,) in execute(url, "SELECT n::text FROM notifications AS n ORDER BY user_id")] == (
        [False] * 5 + [True] * 5
    )
    live = execute(
        url, """SELECT "notificationData"::json ->> 'message' FROM "notification" WHERE "userId" = 'user-a'"""
    )
    assert live == [("",)] * 4
    output = capsys.readouterr()
    assert SECRET not in output.out + output.err
    assert "left: 0 of 8 events, 0 of 7 facts, 0 of 5 notifications" in output.out


def test_a_rebuild_makes_the_rows_that_were_left(aws: Aws, url: str) -> None:
    """The emptied rows are what the emptied events make of them."""
    assert main(["--user", "user-a", "--yes"]) == 0
    left = rows(url)
    assert compare(job(aws, url))[1] == []
    lose_rows(url)
    rebuild(job(aws, url))
    assert rows(url) == left


def test_a_late_redelivery_restores_nothing(aws: Aws, url: str) -> None:
    """It is acknowledged: no conflict, nothing applied, nothing published; facts that come back as well."""
    assert main(["--user", "user-a", "--yes"]) == 0
    left = rows(url), stored(aws)
    deliver(personal("user-a"))
    assert (rows(url), stored(aws)) == left
    assert outbox(url) == []
    assert published(aws, 0) == []

    deliver([record("reminder:updated", "user-a", "user-a-1", 50, userEmail=EMAIL, data=DATA)])
    assert rows(url) != left[0]  # what is new is ordinary
    assert len(published(aws, 1)) == 1


def test_a_redelivery_restores_nothing_even_if_the_rows_were_lost(aws: Aws, url: str) -> None:
    """What is applied is what the event store has."""
    assert main(["--user", "user-a", "--yes"]) == 0
    lose_rows(url)
    deliver(personal("user-a"))
    made = execute(url, "SELECT n::text FROM notifications AS n")
    assert len(made) == 5
    assert SECRET not in json.dumps([made, published(aws, 7)])


def test_a_second_erasure_changes_nothing(aws: Aws, url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A second run finds nothing to erase and changes nothing."""
    assert main(["--user", "user-a", "--yes"]) == 0
    left = rows(url), stored(aws)
    capsys.readouterr()
    assert main(["--user", "user-a", "--yes"]) == 0
    assert "erased: 0 of 8 events, 0 of 7 facts\n" in capsys.readouterr().out
    assert (rows(url), stored(aws)) == left


@pytest.mark.parametrize("updates", [0, 1, 7, 8, 11])
def test_an_interrupted_erasure_is_finished_by_the_next_run(updates: int, aws: Aws, url: str) -> None:
    """Wherever it ended, running it again erases the rest."""

    class Dying:
        """DynamoDB's client, up to an update that is never answered."""

        def __init__(self) -> None:
            self.client, self.left = make_patient_client("dynamodb"), updates

        def __getattr__(self, name: str) -> Any:
            return getattr(self.client, name)

        def update_item(self, **request: Any) -> Any:
            self.client.update_item(**request)
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt

    with connect(DatabaseSettings(url=url), secrets_client) as connection, pytest.raises(KeyboardInterrupt):
        erase(Erasure("user-a", aws.table, Dying(), connection, writes=True))

    assert main(["--user", "user-a", "--yes"]) == 0
    assert SECRET not in json.dumps(list(of_user(stored(aws), "user-a").values()))
    assert execute(url, "SELECT 1 FROM notifications AS n WHERE user_id = 'user-a' AND n::text ~ %s", (SECRET,)) == []
    assert compare(job(aws, url))[1] == []


def test_a_fact_that_waits_goes_out_without_personal_data(aws: Aws, url: str) -> None:
    """One whose batch died before it was published: a later batch takes it along, emptied; others' are left."""
    data = json.dumps(DATA | {"userEmail": EMAIL, "userId": "user-a"})
    for event, user in (("x", "user-a"), ("y", "user-b")):
        notification = f'{{"id": "n-1", "userId": "{user}", "userEmail": "{EMAIL}", "notificationData": {data}}}'
        execute(
            url,
            "INSERT INTO outbox (event_pk, event_sk, kind, notification, committed_at)"
            " VALUES ('reminder#x', %s, 'created', %s, now() - interval '1 hour')",
            (f"2026-11-23T12:00:00.000000Z#{event}", notification),
        )
    assert main(["--user", "user-a", "--yes"]) == 0

    deliver([record("todo:done", "user-c", "item-c", 1)])

    fact, other = sorted(published(aws, 2), key=lambda fact: str(fact["causationId"]))
    assert other["userEmail"] == EMAIL
    assert other["eventData"]["notificationData"]["message"] == DATA["message"]
    assert fact["userEmail"] is None
    assert fact["eventData"]["notificationData"]["message"] == ""
    assert SECRET not in json.dumps(fact)
    assert outbox(url) == []


@pytest.mark.parametrize("orphan_first", [True, False])
def test_a_fact_that_went_out_before_brings_nothing_back(
    aws: Aws, url: str, orphan_first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SNS had it and the event store not yet, when the person was forgotten; its copy comes back through the queue."""
    fact = {"id": "n-1", "userId": "user-a", "userEmail": EMAIL, "notificationData": {"message": SECRET}}
    key = ("reminder#x", "2026-11-23T12:00:00.000000Z#x")
    execute(
        url,
        "INSERT INTO outbox (event_pk, event_sk, kind, notification, committed_at)"
        " VALUES (%s, %s, 'created', %s, now() - interval '1 hour')",
        (*key, json.dumps(fact)),
    )
    pending = PendingFact(*key, "created", "n-1", "user-a", EMAIL, json.dumps(fact))
    copy = raw(message_of(fact_of(pending)).body)
    monkeypatch.setenv("EVENT_RETENTION_DAYS", "30")
    assert main(["--user", "user-a", "--yes"]) == 0
    trigger = record("todo:done", "user-c", "item-c", 1)
    for each in [trigger, copy] if orphan_first else [copy, trigger]:
        deliver([each])
    assert SECRET not in json.dumps([*of_user(stored(aws), "user-a").values()])
    assert "expiresAt" in stored(aws)[fact_of(pending).key]
    assert outbox(url) == []


def test_a_row_whose_events_have_expired_is_emptied_too(aws: Aws, url: str) -> None:
    """The time-to-live of the event store takes events away, and leaves the row."""
    for pk, sk in of_user(stored(aws), "user-a"):
        aws.dynamodb.delete_item(TableName=aws.table, Key={"pk": {"S": pk}, "sk": {"S": sk}})
    assert main(["--user", "user-a", "--yes"]) == 0
    found = execute(url, "SELECT n::text FROM notifications AS n WHERE user_id = 'user-a'")
    assert len(found) == 5
    assert SECRET not in json.dumps(found)


def test_what_was_just_written_is_read_consistently_and_to_the_last_page(aws: Aws, url: str) -> None:
    """Otherwise an erasure would miss a fact, or an event, that a batch stored in the last second."""
    requests: list[dict[str, Any]] = []

    class Recording:
        """DynamoDB's client, with its reads written down."""

        client = make_patient_client("dynamodb")

        def __getattr__(self, name: str) -> Any:
            return getattr(self.client, name)

        def query(self, **request: Any) -> Any:
            requests.append(request)
            return self.client.query(**request, Limit=1)  # so that there is always a next page

        def get_item(self, **request: Any) -> Any:
            requests.append(request)
            return self.client.get_item(**request)

    # A row that no stored event renews, and a fact that is stored and still waits.
    execute(url, "UPDATE notifications SET id = gen_random_uuid(), item_id = 'x' WHERE item_id = 'user-a-2'")
    execute(
        url,
        "INSERT INTO outbox (event_pk, event_sk, kind, notification)"
        " SELECT (decided_by).stream, to_char(updated_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"
        " || '#' || (decided_by).event_id, 'updated', json_build_object('id', id, 'userId', user_id, 'userEmail', 'x')"
        " FROM notifications WHERE item_id = 'user-a-1'",
    )
    with connect(DatabaseSettings(url=url), secrets_client) as connection:
        erase(Erasure("user-a", aws.table, Recording(), connection, writes=True))
    of_table = [request for request in requests if "IndexName" not in request]  # an index has no consistent reads
    assert len([request for request in of_table if "Key" in request]) == 2
    assert all(request["ConsistentRead"] is True for request in of_table)
    assert SECRET not in json.dumps([*of_user(stored(aws), "user-a").values()])


def test_a_rebuild_and_an_erasure_exclude_each_other(aws: Aws, url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Otherwise the rebuild could write back what it had read before the erasure."""
    with exclusive_connection(DatabaseSettings(url=url), secrets_client):
        assert main(["--user", "user-a", "--yes"]) == 2
    assert "another rebuild or erasure is running" in capsys.readouterr().err


def test_an_event_without_personal_data_is_marked_as_forgotten_too(aws: Aws, url: str) -> None:
    """The mark says when the erasure read the event, not what it found."""
    deliver([record("todo:done", "user-a", "plain", 60, userEmail=..., data={"amount": 3})])
    before = of_user(stored(aws), "user-a")
    assert main(["--user", "user-a", "--yes"]) == 0
    (key,) = (key for key in before if key[0] == "todo#plain")
    assert stored(aws)[key] == before[key] | {"forgottenAt": stored(aws)[key]["forgottenAt"]}


def test_compressed_data_that_becomes_short_is_stored_as_text(aws: Aws, url: str) -> None:
    """Like that of any event, so that it can be read."""
    deliver([record("reminder:created", "user-a", "long", 60, data=DATA | {"message": SECRET * 100})])
    assert main(["--user", "user-a", "--yes"]) == 0
    (item,) = (item for item in scan(aws) if item["pk"]["S"] == "reminder#long")
    assert "eventDataEncoding" not in item
    assert json.loads(item["eventData"]["S"]) == DATA | {"message": "", "url": ""}


def test_an_erasure_pauses_within_a_page_when_its_time_is_up(aws: Aws, url: str) -> None:
    """A page may have thousands of items."""

    class UntilTheFirstItem(Deadline):
        def remaining(self) -> float:
            return 0.0 if any("forgottenAt" in item for item in stored(aws).values()) else 1.0

    deadline = UntilTheFirstItem(0)
    client = make_patient_client("dynamodb")
    with connect(DatabaseSettings(url=url), secrets_client) as connection, pytest.raises(Paused):
        erase(Erasure("user-a", aws.table, client, connection, writes=True, deadline=deadline))
    assert len([item for item in stored(aws).values() if "forgottenAt" in item]) == 1


def before_the_outbox(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], object]) -> None:
    """Let something happen once, after the events were emptied and before the outbox is read."""
    pending = [happens]
    erase_outbox = module._erase_outbox

    def after_it(task: Erasure) -> None:
        while pending:
            pending.pop()()
        erase_outbox(task)

    monkeypatch.setattr(module, "_erase_outbox", after_it)


def test_a_fact_that_leaves_the_outbox_meanwhile_is_found_in_the_event_store(
    aws: Aws, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another batch publishes it."""
    execute(
        url,
        "INSERT INTO outbox (event_pk, event_sk, kind, notification, committed_at)"
        " SELECT 'reminder#user-a-1', '2026-11-23T12:00:00.000000Z#x', 'updated', json_build_object("
        "'id', id, 'userId', user_id, 'notificationData', notification_data), now() - interval '1 hour'"
        " FROM notifications WHERE item_id = 'user-a-1'",
    )
    before_the_outbox(monkeypatch, lambda: deliver([record("todo:done", "user-c", "item-c", 1)]))
    assert main(["--user", "user-a", "--yes"]) == 0
    assert outbox(url) == []
    assert SECRET not in json.dumps([*of_user(stored(aws), "user-a").values()])


def test_a_row_that_a_batch_fills_meanwhile_is_emptied_if_its_event_is(
    aws: Aws, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The batch had read the event before; what the row then says is what is stored."""
    refill = "UPDATE notifications SET user_email = %s, notification_data = %s WHERE item_id = 'user-a-1'"
    before_the_outbox(monkeypatch, lambda: execute(url, refill, (EMAIL, json.dumps(DATA))))
    assert main(["--user", "user-a", "--yes"]) == 0


def test_a_row_of_an_event_that_is_stored_meanwhile_stays_what_the_event_says(
    aws: Aws, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both are new, and the next run erases both."""
    later = record("reminder:updated", "user-a", "user-a-1", 50, userEmail=EMAIL, data=DATA)
    before_the_outbox(monkeypatch, lambda: deliver([later]))
    with connect(DatabaseSettings(url=url), secrets_client) as connection:
        erase(Erasure("user-a", aws.table, make_patient_client("dynamodb"), connection, writes=True))
    assert compare(job(aws, url))[1] == []
    assert main(["--user", "user-a", "--yes"]) == 0
    assert compare(job(aws, url))[1] == []


def test_a_killed_comparisons_copy_of_the_rows_is_dropped(aws: Aws, url: str) -> None:
    """It is a copy of everybody's rows."""
    execute(url, f"CREATE TABLE {SHADOW} AS SELECT * FROM notifications")
    assert main(["--user", "user-a", "--yes"]) == 0
    assert execute(url, f"SELECT to_regclass('{SHADOW}')::text") == [(None,)]


def test_an_event_that_expires_meanwhile_is_gone_anyway(aws: Aws, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found, and deleted before it is written."""

    def expired(client: Any, table: str, left: Any) -> None:
        client.delete_item(TableName=table, Key={"pk": left["pk"], "sk": left["sk"]})
        replace_item(client, table, left)

    monkeypatch.setattr(module, "replace_item", expired)
    assert main(["--user", "user-a", "--yes"]) == 0
    assert not of_user(stored(aws), "user-a")


def test_another_producers_event_of_a_facts_type_is_found(aws: Aws, url: str) -> None:
    """It names the same user in its data, as facts do, but is about nothing that this service knows."""
    data = DATA | {"userId": "user-a", "itemId": "theirs"}
    deliver([record("notification:created", "user-a", "their-own-id", 60, userEmail=EMAIL, data=data)])
    assert main(["--user", "user-a", "--yes"]) == 0
    item = stored(aws)[
        "notification#their-own-id", "2026-11-23T12:01:00.000000Z#notification:created-user-a-their-own-id-60"
    ]
    assert SECRET not in json.dumps(item)
    assert item["forgottenAt"]


def test_another_users_event_about_a_notification_is_left(aws: Aws, url: str) -> None:
    """It is in the stream of the notification's facts, but it is not a fact."""
    ((id_,),) = execute(url, "SELECT id::text FROM notifications WHERE item_id = 'user-a-1'")
    deliver([record("notification:seen", "user-b", id_, 60, userEmail=EMAIL, data=DATA)])
    before = of_user(stored(aws), "user-b")
    assert main(["--user", "user-a", "--yes"]) == 0
    assert of_user(stored(aws), "user-b") == before


def test_rows_that_were_lost_are_not_announced_again(aws: Aws, url: str) -> None:
    """An erasure makes them from the emptied events, whose facts are stored or wait in the outbox."""
    cause = "reminder:updated-user-a-user-a-1-2"
    ((pk, sk), fact) = next((key, item) for key, item in stored(aws).items() if item.get("causationId") == cause)
    aws.dynamodb.delete_item(TableName=aws.table, Key={"pk": {"S": pk}, "sk": {"S": sk}})
    execute(
        url,
        "INSERT INTO outbox (event_pk, event_sk, kind, notification, committed_at)"
        " VALUES ('reminder#user-a-1', %s, 'updated', %s, now() - interval '1 hour')",
        (f"2026-11-23T12:00:02.000000Z#{cause}", fact["eventData"]),
    )
    lose_rows(url)
    assert main(["--user", "user-a", "--yes"]) == 0
    deliver([record("todo:done", "user-c", "item-c", 1)])
    assert [each["causationId"] for each in published(aws, 1)] == [cause]
    deliver(personal("user-a"))
    assert published(aws, 0) == []


@pytest.mark.parametrize("rebuilt", [False, True])
def test_a_batch_that_was_about_to_apply_brings_nothing_back(
    rebuilt: bool, aws: Aws, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has stored its events, and the person is forgotten: the facts are made, without what was personal."""
    apply = Notifications.apply

    def forget_first(self: Notifications, events: Any, deadline: Any) -> Any:
        if rebuilt:
            rebuild(job(aws, url))
        with contextlib.redirect_stdout(io.StringIO()):
            assert main(["--user", "user-a", "--yes"]) == 0
        return apply(self, events, deadline)

    monkeypatch.setattr(Notifications, "apply", forget_first)
    deliver(
        [
            record("reminder:updated", "user-a", "user-a-1", 50, userEmail=EMAIL, data=DATA),
            record("notification:delete", "user-a", "user-a-3", 51, userEmail=EMAIL, data=DATA),
        ]
    )
    facts = published(aws, 2)
    assert sorted(fact["eventType"] for fact in facts) == ["notification:deleted", "notification:updated"]
    assert SECRET not in json.dumps([facts, *of_user(stored(aws), "user-a").values()])
