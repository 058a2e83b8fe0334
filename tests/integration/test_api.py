import json
import re
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import pytest

from event_service.api import routes as api
from event_service.api.models import KnownType
from event_service.catalogue import document as catalogue
from event_service.codec.instants import Instant
from event_service.domain.event import FACT_TYPES, KNOWN_TYPES, notification_id
from event_service.domain.facts import FactKind, PendingFact, fact_of
from event_service.handler import lambda_handler
from event_service.history import __main__ as history
from local.api import proxy_event, resources
from tests.integration.adapters.test_event_history import EXACT, event, store
from tests.support.aws import Aws, published
from tests.support.messages import native, raw

PATHS = resources()


@pytest.fixture(autouse=True)
def pool(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadPoolExecutor]:
    monkeypatch.setenv("EVENT_STORE_TABLE", aws.table)
    with ThreadPoolExecutor(4) as executor:
        yield executor


def get(target: str) -> tuple[int, Any, str]:
    answer = api.lambda_handler(proxy_event(target, PATHS), None)
    text = answer["body"]
    assert "Traceback" not in text
    return answer["statusCode"], json.loads(text), text


def at(number: int) -> str:
    return quote(event(number).occurred_at)


def test_a_history_is_paged_and_exact(aws: Aws, pool: ThreadPoolExecutor) -> None:
    """Each event appears once, in order, with every digit of its data."""
    store(aws, pool, event(10, data=EXACT), event(20))
    status, first, text = get("/items/reminder/item-1/events?limit=1")
    assert (status, [each["id"] for each in first["events"]]) == (200, ["e10"])
    assert f'"eventData":{EXACT}' in text
    _, second, _ = get(f"/items/reminder/item-1/events?cursor={first['next']}")
    assert [each["id"] for each in second["events"]] == ["e20"]
    assert second["next"] is None


@pytest.mark.parametrize("item_id", ["a/b", "100%", "%2F", "a b+c", "ü#?&", "日本", "..", "{itemType}", "a;b=c"])
def test_an_item_id_may_have_any_character(aws: Aws, pool: ThreadPoolExecutor, item_id: str) -> None:
    """The path contains it percent-encoded once."""
    store(aws, pool, event(10, item_id=item_id))
    status, answer, _ = get(f"/items/reminder/{quote(item_id, safe='')}")
    assert (status, answer["itemId"], answer["event"]["itemId"]) == (200, item_id, item_id)


def test_the_instant_of_a_state_may_have_any_offset(aws: Aws, pool: ThreadPoolExecutor) -> None:
    """The deciding event is included; a deleted item has a state; before the first event it is 404."""
    store(aws, pool, event(10), event(20, event_type="reminder:deleted"))
    status, answer, _ = get("/items/reminder/item-1?at=2026-11-23T07:00:15+01:00")
    assert (status, answer["state"], answer["event"]["id"]) == (200, "existing", "e10")
    assert answer["at"] == "2026-11-23T06:00:15.000000Z"
    status, answer, _ = get("/items/reminder/item-1")
    assert (status, answer["state"], answer["since"]) == (200, "deleted", event(20).occurred_at)
    assert get(f"/items/reminder/item-1?at={at(9)}")[0] == 404


def test_every_user_has_their_own_state_of_an_item(aws: Aws, pool: ThreadPoolExecutor) -> None:
    """Without a user, that of the user of the latest event."""
    store(aws, pool, event(10), event(20, user_id="user-b"))
    assert get("/items/reminder/item-1")[1]["userId"] == "user-b"
    assert get("/items/reminder/item-1?userId=user-a")[1]["event"]["id"] == "e10"
    assert get("/items/reminder/item-1?userId=nobody")[0] == 404


def test_a_state_counts_the_commands_that_address_the_item(aws: Aws, pool: ThreadPoolExecutor) -> None:
    """In the order of precedence: at the same instant, an update wins over a creation whatever their ids."""
    command = {"item_type": "notification", "event_type": "notification:update"}
    store(aws, pool, event(10), event(20, **command, data='{"a":2}'), event(30), event(40, **command, data='{"a":4}'))
    store(aws, pool, replace(event(40), id="z"), event(50, item_type="notification", event_type="notification:delete"))
    states = [get(f"/items/reminder/item-1?at={at(second)}")[1] for second in (10, 20, 30, 40, 50)]
    assert [state["event"]["id"] for state in states] == ["e10", "e20", "e30", "e40", "e50"]
    assert [state["state"] for state in states] == ["existing"] * 4 + ["deleted"]
    assert {(state["itemType"], state["itemId"]) for state in states} == {("reminder", "item-1")}
    assert get(f"/items/reminder/item-1/changes?from={at(30)}&to={at(40)}")[1]["changes"] == [
        {"field": "a", "old": 1, "new": 4}
    ]
    timeline = api.lambda_handler(proxy_event("/items/reminder/item-1/timeline", PATHS), None)["body"]
    assert re.findall("  id (.*)", timeline) == ["e10", "e20", "e30", "z", "e40", "e50"]


def test_an_event_links_to_its_facts_and_a_fact_to_its_cause(aws: Aws, pool: ThreadPoolExecutor) -> None:
    """With the paths of both, wherever an event is shown; an overtaken event has no fact."""
    causes = [event(10, item_id="a/b %"), event(20, item_id="a/b %", event_type="reminder:deleted")]
    id_ = notification_id("user-a", "reminder", "a/b %")
    data = '{"itemType":"reminder","itemId":"a/b %","userId":"user-a"}'
    kinds: tuple[FactKind, ...] = ("updated", "deleted")
    facts = [
        fact_of(PendingFact(*cause.key, kind, id_, "user-a", None, data))
        for cause, kind in zip(causes, kinds, strict=True)
    ]
    store(aws, pool, *causes, event(15, item_id="a/b %"), *facts)
    item = f"/items/reminder/{quote('a/b %', safe='')}"
    for path in (f"{item}/events", "/users/user-a/events"):
        shown = {each["id"]: each for each in get(path)[1]["events"]}
        assert shown["e15"]["factIds"] == shown["e15"]["factPaths"] == []
        for cause, fact in zip(causes, facts, strict=True):
            assert shown[cause.id]["factIds"] == [fact.id]
            (fact_path,) = shown[cause.id]["factPaths"]
            (shown_fact,) = get(fact_path)[1]["events"]
            assert (shown_fact["id"], shown_fact["causationId"], shown_fact["factIds"]) == (fact.id, cause.id, [])
            assert get(shown_fact["causationPath"])[1]["events"] == [shown[cause.id]]
    assert get(item)[1]["event"] == shown["e20"]
    changes = get(f"{item}/changes?from={at(10)}&to={at(20)}")[1]
    assert [changes[name]["event"] for name in ("old", "new")] == [shown["e10"], shown["e20"]]


def test_the_links_are_those_of_the_published_facts(aws: Aws, service_environment: dict[str, str]) -> None:
    """The keys are derived exactly as the queue function derives them, for a command too."""
    times = {"reminder:created": "08:00", "notification:update": "08:01", "reminder:deleted": "08:02"}
    for event_type, time in times.items():
        sent = native(id=event_type, eventType=event_type, occurredAt=f"2026-11-23T{time}:00Z")
        assert lambda_handler({"Records": [raw(sent, None)]}, None) == {"batchItemFailures": []}
    facts = {fact["causationId"]: fact["id"] for fact in published(aws, 3)}
    events = [get(f"/items/reminder/item-1?at=2026-11-23T{time}:00Z")[1]["event"] for time in times.values()]
    assert [each["id"] for each in events] == [*times]
    assert {each["id"]: each["factIds"] for each in events} == {cause: [fact] for cause, fact in facts.items()}


def test_an_event_that_only_looks_like_a_fact_has_no_link(aws: Aws, pool: ThreadPoolExecutor) -> None:
    """Other producers may use the facts' types, and any event may name the cause it has at its producer."""
    fields = {"item_type": "notification", "event_type": "notification:created", "causation_id": "theirs"}
    store(aws, pool, event(10, **fields), event(20, causation_id="theirs"))
    for item_type in ("notification", "reminder"):
        (shown,) = get(f"/items/{item_type}/item-1/events")[1]["events"]
        assert (shown["causationId"], shown["causationPath"], shown["factIds"]) == ("theirs", None, [])


def test_the_last_instant_has_a_path_too(aws: Aws, pool: ThreadPoolExecutor) -> None:
    """No instant follows it, so the path has no end."""
    last = replace(event(10), occurred_at=Instant("9999-12-31T23:59:59.999999Z"))
    id_ = notification_id("user-a", "reminder", "item-1")
    store(aws, pool, last, fact_of(PendingFact(*last.key, "created", id_, "user-a", None, '{"userId":"user-a"}')))
    (path,) = get("/items/reminder/item-1")[1]["event"]["factPaths"]
    assert get(path)[1]["events"][0]["causationId"] == "e10"


def test_changes_are_listed_field_by_field(aws: Aws, pool: ThreadPoolExecutor) -> None:
    """With the exact old and new values; equal values that are written differently are not a change."""
    store(aws, pool, event(10, data='{"a":1.0,"b":1e400,"c":null}'), event(20, data='{"a":1,"b":2,"d":[]}'))
    status, answer, text = get(f"/items/reminder/item-1/changes?from={at(10)}&to={at(20)}")
    assert status == 200
    assert '"changes":[{"field":"b","old":1e400,"new":2},{"field":"c","old":null},{"field":"d","new":[]}]' in text
    assert (answer["old"]["event"]["id"], answer["new"]["event"]["id"]) == ("e10", "e20")
    assert get(f"/items/reminder/item-1/changes?from={at(1)}&to={at(20)}")[1]["old"] is None


@pytest.mark.parametrize(("text", "times"), [("\\" + '"', 500_000), ("字", 345_000)])
def test_changes_fit_into_a_response(aws: Aws, pool: ThreadPoolExecutor, text: str, times: int) -> None:
    """Lambda allows 6 MB: with two events of 1 MB each, the events' data is left out."""
    for second in (10, 20):
        store(aws, pool, event(second, data=f'{{"message":"{text * times}{second}"}}'))
    status, answer, body = get(f"/items/reminder/item-1/changes?from={at(10)}&to={at(20)}")
    assert status == 200
    assert len(json.dumps(body)) < 6_000_000
    assert answer["new"]["event"]["eventData"] == {}
    assert answer["changes"][0]["new"].endswith("20")


def test_a_user_has_a_history_too(aws: Aws, pool: ThreadPoolExecutor) -> None:
    """It covers all items; a user without events has an empty one."""
    store(aws, pool, event(10), event(20, item_id="other"))
    assert [each["id"] for each in get("/users/user-a/events")[1]["events"]] == ["e10", "e20"]
    assert get("/users/nobody/events")[:2] == (200, {"events": [], "next": None})


def test_the_known_types_are_listed() -> None:
    """The list is the catalogue's."""
    status, answer, _ = get("/event-types")
    assert status == 200
    assert answer == {"eventTypes": json.loads(json.dumps(catalogue.event_types()))}
    assert [KnownType(**each).name for each in answer["eventTypes"]] == [*KNOWN_TYPES, *sorted(FACT_TYPES)]


def test_the_accepted_parameters_are_those_of_the_document() -> None:
    """For every path of it."""
    document = json.loads(api.app.get_openapi_json_schema())
    documented = {
        path.replace("<", "{").replace(">", "}"): {
            parameter["name"] for parameter in item["get"].get("parameters", []) if parameter["in"] == "query"
        }
        for path, item in document["paths"].items()
    }
    assert documented == api._PARAMETERS
    parameters = {
        (path, parameter["name"]): parameter["schema"]
        for path, item in document["paths"].items()
        for parameter in item["get"].get("parameters", [])
    }
    assert {schema["type"] for schema in parameters.values()} == {"string", "integer"}
    assert {name for (_, name), schema in parameters.items() if schema.get("format") == "date-time"} == {
        "from",
        "to",
        "at",
    }
    assert all(schema["maxLength"] == 256 for (_, name), schema in parameters.items() if name in ("itemId", "userId"))


def test_the_document_lists_every_response() -> None:
    """And no other: a wrong parameter is 400, not the framework's 422. Every reference has its schema."""
    text = api.app.get_openapi_json_schema()
    document = json.loads(text)
    for path, item in document["paths"].items():
        missing = set() if path.startswith("/users") or path == "/event-types" else {"404"}
        assert set(item["get"]["responses"]) == {"200", "400", "500", "503"} | missing
    names = {"#/components/schemas/" + name for name in document["components"]["schemas"]}
    assert names == set(re.findall(r"#/components/schemas/\w+", text))


TOO_LONG = urlsafe_b64encode(json.dumps(["pk", *["reminder#1"] * 2, "2" * 1025]).encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    ("target", "field"),
    [
        ("/items/reminder/1?at=yesterday", "at"),
        ("/items/reminder/1/events?from=2026-13-01T00:00:00Z", "from"),
        ("/items/reminder/1/events?limit=0", "limit"),
        ("/items/reminder/1/events?limit=1001", "limit"),
        ("/items/reminder/1/events?limit=x", "limit"),
        ("/items/reminder/1/events?cursor=x", "cursor"),
        (f"/items/reminder/1/events?cursor={TOO_LONG}", "cursor"),
        ("/items/reminder/1/events?from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", "to"),
        ("/items/reminder/1/changes?to=2026-01-01T00:00:00Z", "from"),
        ("/items/reminder/1?userId=", "userId"),
        ("/items/reminder/1?user=a", "user"),
        ("/event-types?x=1", "x"),
        ("/items/Reminder/1", "itemType"),
        ("/items/a%23b/c", "itemType"),
        (f"/items/{'a' * 65}/1", "itemType"),
        (f"/items/reminder/{'x' * 257}", "itemId"),
        (f"/users/{'x' * 257}/events", "userId"),
    ],
)
def test_a_wrong_parameter_is_named_with_its_reason(target: str, field: str) -> None:
    """400, as problem details."""
    status, problem, _ = get(target)
    assert (status, problem["status"], [error["field"] for error in problem["errors"]]) == (400, 400, [field])
    assert problem["errors"][0]["reason"]


@pytest.mark.parametrize("target", ["/", "/items", "/items/reminder", "/items/a/b/c", "/items/reminder/1/events"])
def test_an_unknown_path_or_item_is_404(target: str) -> None:
    """As problem details."""
    status, problem, _ = get(target)
    assert (status, problem["title"]) == (404, "Not Found")


def test_an_unavailable_event_store_is_503(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a stack trace."""
    monkeypatch.setenv("EVENT_STORE_TABLE", "no-such-table")
    assert get("/items/reminder/1")[0] == 503


def test_an_item_that_cannot_be_read_is_named(
    aws: Aws, pool: ThreadPoolExecutor, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the API, with status 500, and by the command; it is damaged or of another writer."""
    store(aws, pool, event(10))
    item = aws.dynamodb.query(
        TableName=aws.table,
        KeyConditionExpression="pk = :pk",
        ExpressionAttributeValues={":pk": {"S": "reminder#item-1"}},
    )["Items"][0]
    damaged = {**item, "eventData": {"B": b"no gzip"}, "eventDataEncoding": {"S": "gzip"}}
    aws.dynamodb.put_item(TableName=aws.table, Item=damaged)
    reason = f"the event store's item reminder#item-1 {item['sk']['S']} cannot be read"
    for path in ("", "/events", "/timeline"):
        status, problem, _ = get(f"/items/reminder/item-1{path}")
        assert (status, problem["detail"]) == (500, reason)
    capsys.readouterr()
    assert history.main(["reminder", "item-1"]) == 2
    assert capsys.readouterr().err == f"history: {reason}\n"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Powertools leaves its files open
def test_the_swagger_page_is_self_contained() -> None:
    """It contains its scripts and styles and loads nothing."""
    page = api.lambda_handler(proxy_event("/docs", PATHS), None)["body"]
    assert "SwaggerUIBundle" in page
    assert "<script src" not in page
    assert "<link rel" not in page
    assert len(json.dumps(page)) < 6_000_000


def test_the_timeline_shows_what_each_event_changed(
    aws: Aws, pool: ThreadPoolExecutor, capsys: pytest.CaptureFixture[str]
) -> None:
    """Old and new values, and deletions; control characters are escaped."""
    deleted = event(30, event_type="reminder:deleted", data="{}")
    store(aws, pool, event(10, data='{"a":1}'), event(20, data='{"a":"\x7f","b":true}'), deleted)
    assert history.main(["reminder", "item-1"]) == 0
    text = capsys.readouterr().out
    assert "    a: 1\n" in text
    assert '    a: 1 → "' in text
    assert "    b: true\n" in text
    assert f"    deleted at {deleted.occurred_at}\n" in text
    assert "\x7f" not in text
    assert history.main(["reminder", "item-1", "--json", "--from", event(20).occurred_at]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [[change["field"] for change in line["changes"]] for line in lines] == [["a", "b"], ["a", "b"]]
    assert history.main(["reminder", "item-1", "--at", event(15).occurred_at]) == 0
    assert "e10" in capsys.readouterr().out


def test_the_timeline_is_the_same_by_http(
    aws: Aws, pool: ThreadPoolExecutor, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As text; one that is too long says where to continue."""
    store(aws, pool, *(event(10 * number, data=f'{{"a":{number}}}') for number in range(1, 5)))
    target = f"/items/reminder/item-1/timeline?from={at(20)}"
    answer = api.lambda_handler(proxy_event(target, PATHS), None)
    assert answer["multiValueHeaders"]["Content-Type"] == ["text/plain; charset=utf-8"]
    assert history.main(["reminder", "item-1", "--from", event(20).occurred_at]) == 0
    assert answer["body"] == capsys.readouterr().out
    assert answer["body"].count(" → ") == 3

    monkeypatch.setattr(api, "_MAX_TEXT_BYTES", 150)
    body = api.lambda_handler(proxy_event(target, PATHS), None)["body"]
    assert body.endswith(f"    a: 1 → 2\n… continue with from={event(30).occurred_at}\n")
    assert get("/items/reminder/unknown/timeline")[0] == 404
    assert get(f"/items/reminder/item-1/timeline?from={at(20)}&to={at(10)}")[0] == 400


def test_a_timeline_that_cannot_be_printed_says_why(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unknown item gives status 1, a missing setting status 2 and its name."""
    assert history.main(["reminder", "unknown"]) == 1
    assert "no events of reminder unknown found" in capsys.readouterr().err
    monkeypatch.delenv("EVENT_STORE_TABLE")
    assert history.main(["reminder", "unknown"]) == 2
    assert "EVENT_STORE_TABLE is not set" in capsys.readouterr().err
    monkeypatch.setenv("EVENT_STORE_TABLE", "any")
    for name, value, reason in (
        ("AWS_PROFILE", "unknown", "The config profile (unknown) could not be found"),
        ("AWS_ENDPOINT_URL", "nonsense", "Invalid endpoint: nonsense"),
    ):
        with monkeypatch.context() as patched:
            patched.setenv(name, value)
            assert history.main(["reminder", "unknown"]) == 2
        assert capsys.readouterr().err == f"history: {reason}\n"


def test_ctrl_c_ends_a_timeline_without_a_traceback(
    aws: Aws, pool: ThreadPoolExecutor, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the exit status that shells use for it."""
    store(aws, pool, event(10))

    def interrupted(*_: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(history, "render", interrupted)
    assert history.main(["reminder", "item-1"]) == 130
    assert capsys.readouterr() == ("", "history: interrupted; run the same command again to resume\n")
