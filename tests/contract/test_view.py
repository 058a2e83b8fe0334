"""§6: what the unmodified notification-scheduler and the notification-service find."""

import itertools
import json
import re
from datetime import datetime
from typing import Any

import psycopg
import pytest

from tests.support.formats import CAPTURES, captured
from tests.support.messages import ADDRESS, native, reminder_data, sent
from tests.support.world import World

COLUMNS = [
    "id",
    "createdAt",
    "updatedAt",
    "userId",
    "userEmail",
    "deliverAt",
    "itemType",
    "itemId",
    "notificationData",
]
SELECTED = ", ".join(f'"Notification"."{name}" AS "Notification_{name}"' for name in COLUMNS)
FROM = 'FROM "notification" "Notification" WHERE "Notification"."deliverAt" = $1'
STATEMENTS = {
    "rows": f"SELECT {SELECTED} {FROM}",
    "count": f'SELECT COUNT(DISTINCT("Notification"."id")) as "cnt" {FROM}',
}
ZONES = ["UTC", "Pacific/Auckland", "America/St_Johns"]
DUE = "2026-11-23T07:54:00.000+00:00"


def scheduled(url: str, statement: str, due: str, zone: str = "UTC") -> list[tuple[Any, ...]]:
    """Run a statement as the scheduler's driver does: `$1` is text, the session has any time zone."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SELECT set_config('TimeZone', %s, false)", [zone])
        cursor = psycopg.RawCursor(connection)
        return cursor.execute(statement.encode(), [due]).fetchall()


def test_the_schedulers_sql_finds_what_is_due(world: World) -> None:
    """Exactly the live notifications due at the instant are found and counted, in any time zone."""
    world.invoke(list(captured("reminder-created.wrapped.json").values()))
    world.accept(sent(native(id="d", itemId="D", eventType="reminder:deleted")))
    due = {"jiBF3GxpzzRxHVBw6LqAse", "I9YqU5IqUJmQPFDZlbt1K4", "BcjEEHGXpwUa500HevJPsc"}
    for zone in ZONES:
        rows = scheduled(world.database_url, STATEMENTS["rows"], DUE, zone)
        assert {row[COLUMNS.index("itemId")] for row in rows} == due
        assert scheduled(world.database_url, STATEMENTS["count"], DUE, zone) == [(len(due),)]
        assert scheduled(world.database_url, STATEMENTS["rows"], "2026-11-23T07:54:00.001+00:00", zone) == []


def test_a_row_of_the_view_is_the_notification(world: World) -> None:
    """Every column has its value; `notificationData` is text holding JSON; no e-mail address is ''."""
    for case in ("create-push-url", "create-no-email-header"):
        world.accept(captured("reminder-created.wrapped.json")[case])
    rows = scheduled(world.database_url, STATEMENTS["rows"], DUE)
    found = {row[COLUMNS.index("userId")]: dict(zip(COLUMNS, row, strict=True)) for row in rows}
    row = found["user-a"]
    assert str(row["id"]) == str(world.rows()["user-a", row["itemId"]]["id"])
    assert row["userEmail"] == "alice@example.com"
    assert found["user-c"]["userEmail"] == ""
    assert row["deliverAt"] == datetime.fromisoformat(DUE)
    assert row["itemType"] == "reminder"
    assert row["itemId"] == "jiBF3GxpzzRxHVBw6LqAse"
    assert isinstance(row["notificationData"], str)
    event = json.loads(json.loads(captured("reminder-created.wrapped.json")["create-push-url"]["body"])["Message"])
    enriched = {"userEmail": "alice@example.com", "reminderId": row["itemId"]}
    assert json.loads(row["notificationData"]) == event["eventData"] | enriched


def test_a_deleted_notification_is_not_in_the_view(world: World) -> None:
    """A tombstone is not seen, whatever time of delivery its row has."""
    world.accept(sent(native()))
    assert len(world.query('SELECT * FROM "notification"')) == 1
    world.accept(sent(native(id="d", eventType="reminder:deleted", occurredAt="2026-11-23T07:00:00Z")))
    assert world.query('SELECT * FROM "notification"') == []
    assert world.row()["deliver_at"] is not None


def test_the_view_has_the_columns_of_the_schedulers_table(world: World) -> None:
    """Names and types are those the scheduler was written against; `deliverAt` is a timestamptz."""
    ddl = (CAPTURES / "notification.typeorm-ddl.sql").read_text().splitlines()[0]
    declared = dict(re.findall(r'"(\w+)" (character varying|TIMESTAMP) NOT NULL', ddl))
    columns = world.query(
        "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = 'notification'"
    )
    found = {column["column_name"]: column["data_type"] for column in columns}
    assert set(found) == set(declared) == set(COLUMNS)
    texts = {"text", "character varying"}
    times = {"timestamp with time zone", "timestamp without time zone"}
    for name, kind in declared.items():
        assert found[name] in (times if kind == "TIMESTAMP" else texts | {"uuid"}), name
    assert found["deliverAt"] == "timestamp with time zone"
    assert found["notificationData"] in texts


def test_the_schedulers_sql_uses_the_index_of_live_rows(world: World) -> None:
    """Among many notifications the due ones are found by an index on the time of delivery, not by reading all."""
    world.accept(sent(native()))
    world.query(
        "INSERT INTO notifications SELECT r.* FROM notifications n, generate_series(1, 5000) g,"
        " jsonb_populate_record(n, jsonb_build_object('id', gen_random_uuid(), 'item_id', 'many ' || g,"
        " 'due_at', n.due_at + g * interval '1 minute',"
        " 'deleted_at', CASE WHEN g % 2 = 0 THEN now() END)) r"
    )
    world.query("ANALYZE notifications")
    for statement, zone in itertools.product(STATEMENTS.values(), ZONES):
        plan = "\n".join(row[0] for row in scheduled(world.database_url, f"EXPLAIN {statement}", DUE, zone))
        assert "Seq Scan" not in plan
        (index,) = set(re.findall(r"(?:using|on) (\w*due\w*)", plan))
        (definition,) = world.query("SELECT indexdef FROM pg_indexes WHERE indexname = %s", [index])
        assert "(due_at)" in definition["indexdef"]
        assert "WHERE (deleted_at IS NULL)" in definition["indexdef"]


def test_user_and_item_are_unique(world: World) -> None:
    """The base table refuses a second row of one (user, item)."""
    world.accept(sent(native()))
    with pytest.raises(psycopg.errors.UniqueViolation):
        world.query(
            "INSERT INTO notifications SELECT r.* FROM notifications n,"
            " jsonb_populate_record(n, jsonb_build_object('id', gen_random_uuid())) r"
        )


NEEDS = {
    case: needs["eventData"]
    for case, needs in json.loads((CAPTURES / "notification-service.needs.json").read_text()).items()
}


def test_the_notification_service_gets_what_it_needs(world: World) -> None:
    """For every case it was observed with, `message` and `url` are strings and user and address are there."""
    accepted = {case: {"date": "2027-01-01T00:00:00.000Z"} | data for case, data in NEEDS.items()}
    world.accept(*(sent(native(id=case, itemId=case, eventData=data)) for case, data in accepted.items()))
    rows = world.query('SELECT "itemId", "notificationData" FROM "notification"')
    found = {row["itemId"]: json.loads(row["notificationData"]) for row in rows}
    assert set(found) == set(NEEDS)
    for case, data in accepted.items():
        enriched = {
            "userEmail": ADDRESS,
            "userId": "user-a",
            "reminderId": case,
            "message": data.get("message") or "",
            "url": data.get("url") or "",
        }
        assert found[case] == data | enriched


def test_numbers_of_the_notification_keep_their_digits(world: World) -> None:
    """Neither the row nor the view loses a digit of a number."""
    body = json.dumps(native(eventData=reminder_data(n="@"))).replace(
        '"@"', "[0.10000000000000000001,1.00,9007199254740993]"
    )
    world.accept(sent(body))
    (row,) = world.query('SELECT "notificationData" FROM "notification"')
    assert "[0.10000000000000000001, 1.00, 9007199254740993]" in row["notificationData"].replace(",", ", ").replace(
        "  ", " "
    )
