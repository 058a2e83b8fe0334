import resource
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import botocore.session
import pytest

from event_service.adapters.aws import make_client
from event_service.adapters.event_history import EventHistory
from event_service.adapters.event_items import PK, key_of, to_item
from event_service.adapters.event_store import Appended, EventStore
from event_service.adapters.paging import InvalidCursor, Span, encode_cursor
from event_service.codec.instants import Instant
from event_service.deadline import Deadline
from event_service.domain.event import Event, notification_id
from event_service.domain.facts import FactKind, PendingFact, fact_of
from event_service.domain.state import state_at
from event_service.errors import Unavailable
from tests.integration.adapters.test_event_store import EVENT, Faulty
from tests.support.aws import Aws

LATER = Deadline.after(3600)
LONE_SURROGATE = "WyJwayIsICJyZW1pbmRlciNpdGVtLTEiLCAicmVtaW5kZXIjaXRlbS0xIiwgIlx1ZDgwMCJd"
EXACT = '{"a":1e400,"b":0.1000000000000000055511151231257827,"c":12345678901234567890123}'


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as executor:
        yield executor


@pytest.fixture
def client() -> Faulty:
    return Faulty(make_client(botocore.session.get_session(), "dynamodb"))


@pytest.fixture
def history(aws: Aws, pool: ThreadPoolExecutor, client: Faulty) -> EventHistory:
    return EventHistory(client, aws.table, pool)


def store(aws: Aws, pool: ThreadPoolExecutor, *events: Event) -> None:
    client = make_client(botocore.session.get_session(), "dynamodb")
    outcomes = EventStore(client, aws.table, pool).append(events, Deadline.after(120))
    assert all(isinstance(outcome, Appended) and outcome.is_new for outcome in outcomes)


def event(number: int, **changes: Any) -> Event:
    at = Instant(f"2026-11-23T06:{number // 60:02}:{number % 60:02}.000000Z")
    return replace(EVENT, id=f"e{number}", occurred_at=at, **changes)


def ids(page: Any) -> list[str]:
    return [each.id for each in page.events]


def test_pages_follow_one_another_while_events_are_written(
    aws: Aws, pool: ThreadPoolExecutor, history: EventHistory
) -> None:
    """An event written before the cursor shifts nothing; one written after it is returned."""
    store(aws, pool, *(event(number) for number in (10, 20, 30, 40)))
    first = history.item_page(EVENT.pk, Span(), limit=2, deadline=LATER)
    store(aws, pool, event(5), event(35))
    second = history.item_page(EVENT.pk, Span(), limit=10, cursor=first.cursor, deadline=LATER)
    assert (ids(first), ids(second), second.cursor) == (["e10", "e20"], ["e30", "e35", "e40"], None)


def test_a_span_includes_its_start_but_not_its_end(aws: Aws, pool: ThreadPoolExecutor, history: EventHistory) -> None:
    """Adjacent spans have each event once."""
    store(aws, pool, *(event(number) for number in (10, 20, 30)))
    span = Span(event(10).occurred_at, event(30).occurred_at)
    assert ids(history.item_page(EVENT.pk, span, limit=10, deadline=LATER)) == ["e10", "e20"]
    closed = replace(span, includes_end=True)
    assert ids(history.item_page(EVENT.pk, closed, limit=10, deadline=LATER)) == ["e10", "e20", "e30"]


@pytest.mark.parametrize("cursor", ["x", "é", "W10", "WyJwayIsICJhIl0", "bnVsbA", "", LONE_SURROGATE])
def test_a_malformed_cursor_is_refused(history: EventHistory, cursor: str) -> None:
    """Before anything is read."""
    with pytest.raises(InvalidCursor, match="is not a cursor"):
        history.item_page(EVENT.pk, Span(), limit=1, cursor=cursor, deadline=LATER)


def test_a_cursor_of_another_query_is_refused(aws: Aws, pool: ThreadPoolExecutor, history: EventHistory) -> None:
    """Of another item, of a user, or outside the span."""
    store(aws, pool, event(10), event(20))
    cursor = history.item_page(EVENT.pk, Span(), limit=1, deadline=LATER).cursor
    forged = encode_cursor(PK, EVENT.pk, key_of("reminder#other", event(10).sk))
    reads: list[Callable[[], object]] = [
        lambda: history.item_page("reminder#other", Span(), limit=1, cursor=cursor, deadline=LATER),
        lambda: history.user_page(EVENT.user_id, Span(), limit=1, cursor=cursor, deadline=LATER),
        lambda: history.item_page(EVENT.pk, Span(event(15).occurred_at), limit=1, cursor=cursor, deadline=LATER),
        lambda: history.item_page(EVENT.pk, Span(end=event(5).occurred_at), limit=1, cursor=cursor, deadline=LATER),
        lambda: history.item_page(EVENT.pk, Span(), limit=1, cursor=forged, deadline=LATER),
    ]
    for read in reads:
        with pytest.raises(InvalidCursor, match="another query"):
            read()


def test_a_user_has_the_events_of_every_item(aws: Aws, pool: ThreadPoolExecutor, history: EventHistory) -> None:
    """In order, page by page, without other users' events."""
    store(aws, pool, event(10), event(20, item_id="other"), event(30), event(40, user_id="user-b"))
    first = history.user_page("user-a", Span(), limit=2, deadline=LATER)
    second = history.user_page("user-a", Span(), limit=2, cursor=first.cursor, deadline=LATER)
    assert (ids(first), ids(second)) == (["e10", "e20"], ["e30"])


def test_event_data_is_read_as_it_was_stored(aws: Aws, pool: ThreadPoolExecutor, history: EventHistory) -> None:
    """To the last digit, compressed or not."""
    large = EXACT[:-1] + ',"text":"' + "long " * 1000 + '"}'
    store(aws, pool, event(10, data=EXACT), event(20, data=large))
    page = history.item_page(EVENT.pk, Span(), limit=2, deadline=LATER)
    assert [
        each.to_json().endswith(f'"eventData":{data}}}') for each, data in zip(page.events, (EXACT, large), strict=True)
    ] == [
        True,
        True,
    ]


def test_a_page_ends_before_the_response_would_be_too_large(
    aws: Aws, pool: ThreadPoolExecutor, history: EventHistory
) -> None:
    """Large events take more pages; no event is left out."""
    store(aws, pool, *(event(number, data='{"text":"' + "x" * 900_000 + '"}') for number in range(10)))
    seen, cursor, sizes = [], None, []
    while True:
        page = history.item_page(EVENT.pk, Span(), limit=1000, cursor=cursor, deadline=LATER)
        seen += ids(page)
        sizes.append(sum(len(each.to_json()) for each in page.events))
        if (cursor := page.cursor) is None:
            break
    assert seen == [f"e{number}" for number in range(10)]
    assert max(sizes) < 4 * 1024 * 1024


def test_the_first_page_of_a_long_history_is_one_request(
    aws: Aws, pool: ThreadPoolExecutor, history: EventHistory, client: Faulty
) -> None:
    """With 2,000 events of 16 KB; reading all of them needs no more memory than a few pages."""
    base = event(0, data='{"text":"' + "x" * 16_000 + '"}')
    items = [to_item(replace(base, id=f"e{number:05}"), base.occurred_at) for number in range(2_000)]

    def write(start: int) -> None:
        requests: Any = [{"PutRequest": {"Item": item}} for item in items[start : start + 25]]
        assert not aws.dynamodb.batch_write_item(RequestItems={aws.table: requests})["UnprocessedItems"]

    for _ in pool.map(write, range(0, len(items), 25)):
        pass
    page = history.item_page(EVENT.pk, Span(), limit=100, deadline=LATER)
    assert (len(page.events), client.requests) == (100, ["query"])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert sum(1 for _ in history.item_events("reminder", EVENT.item_id, Span(), deadline=LATER)) == 2_000
    assert (
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 16 * 1024
    )  # KiB; all events together take several times that


def test_the_state_at_an_instant_is_read_from_its_end(
    aws: Aws, pool: ThreadPoolExecutor, history: EventHistory, client: Faulty
) -> None:
    """One request for the item and one for its commands, however long the history; each user has a state."""
    deleted = event(30, event_type="reminder:deleted")
    same_time = replace(event(30), id="z", event_type="reminder:updated")
    store(aws, pool, *(event(number) for number in range(20)), deleted, same_time, event(25, user_id="user-b"))

    def state(at: int, user_id: str | None = None) -> str | None:
        span = Span(end=event(at).occurred_at, includes_end=True)
        client.requests.clear()
        found = state_at(
            history.item_events("reminder", EVENT.item_id, span, newest_first=True, deadline=LATER), user_id
        )
        assert client.requests == ["query", "query"]
        return None if found is None else found.id

    assert [state(19), state(29), state(30), state(29, "user-a"), state(59, "user-b")] == [
        "e19", "e25", "e30", "e19", "e25",
    ]  # fmt: skip
    assert state(59, "nobody") is None


def test_commands_are_among_the_events_of_their_item(
    aws: Aws, pool: ThreadPoolExecutor, history: EventHistory, client: Faulty
) -> None:
    """Both streams are read step by step and in order; another producer's events under the same key are left out."""
    command = {"item_type": "notification", "event_type": "notification:update"}
    store(aws, pool, *(event(number) for number in (10, 30, 50)), *(event(number, **command) for number in (20, 40)))
    store(aws, pool, event(60, item_type="notification", event_type="notification:seen"))

    def read(**options: Any) -> list[str]:
        return [each.id for each in history.item_events("reminder", EVENT.item_id, Span(), deadline=LATER, **options)]

    assert read() == ["e10", "e20", "e30", "e40", "e50"]
    assert read(newest_first=True, step=1) == ["e50", "e40", "e30", "e20", "e10"]
    client.requests.clear()
    assert next(history.item_events("parcel", EVENT.item_id, Span(), deadline=LATER), None) is None
    assert client.requests == ["query"]  # the service knows no commands for parcels


def test_the_facts_of_events_are_found_by_their_keys(
    aws: Aws, pool: ThreadPoolExecutor, history: EventHistory, client: Faulty
) -> None:
    """One request for a hundred possible keys; an overtaken event has no fact."""
    deleted = event(60, event_type="reminder:deleted")
    causes: dict[Event, FactKind] = {event(10): "created", event(20): "updated", deleted: "deleted"}
    id_ = notification_id(EVENT.user_id, "reminder", EVENT.item_id)
    facts = {
        cause.key: fact_of(PendingFact(*cause.key, kind, id_, "user-a", None, "{}")) for cause, kind in causes.items()
    }
    overtaken = [event(number) for number in range(20, 60)][1:]
    store(aws, pool, *causes, *overtaken, event(61, event_type="reminder:seen"), *facts.values())
    page = history.item_page(EVENT.pk, Span(), limit=100, deadline=LATER)
    client.requests.clear()
    found = history.facts_of(page.events, LATER)
    assert found == {(each.pk, each.sk): [] for each in page.events} | {
        cause: [fact.key] for cause, fact in facts.items()
    }
    assert client.requests == ["batch_get_item"]
    assert [*history.facts_of(page.events[-1:], LATER).values()] == [[]]  # without an effect, it cannot have one
    assert client.requests == ["batch_get_item"]


def test_what_will_not_pass_is_not_tried_again(history: EventHistory, client: Faulty) -> None:
    """The caller learns at once."""
    with pytest.raises(Unavailable, match="ResourceNotFound"):
        replace(history, table="no-such-table").item_page(EVENT.pk, Span(), limit=1, deadline=Deadline.after(3))
    assert client.requests == ["query"]


def test_keys_that_dynamodb_left_unread_are_read_again(
    aws: Aws, pool: ThreadPoolExecutor, history: EventHistory, client: Faulty
) -> None:
    """It answers with what it had capacity for."""
    fact = fact_of(
        PendingFact(*EVENT.key, "created", notification_id("user-a", "reminder", "item-1"), "user-a", None, "{}")
    )
    store(aws, pool, EVENT, fact)
    (stored,) = history.item_page(EVENT.pk, Span(), limit=1, deadline=LATER).events
    unread = [{"pk": {"S": fact.pk}, "sk": {"S": fact.sk}}]
    answers = iter([{"Responses": {}, "UnprocessedKeys": {aws.table: {"Keys": unread}}}])
    client.changes["batch_get_item"] = lambda answer: next(answers, answer)
    assert history.facts_of([stored], LATER) == {EVENT.key: [fact.key]}
    assert client.requests[-2:] == ["batch_get_item"] * 2
