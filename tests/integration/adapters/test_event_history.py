import resource
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import botocore.session
import pytest

from event_service.adapters.aws import make_client
from event_service.adapters.event_history import EventHistory, InvalidCursor, Span
from event_service.adapters.event_items import to_item
from event_service.adapters.event_store import EventStore
from event_service.codec.instants import Instant
from event_service.deadline import Deadline
from event_service.domain.event import Event
from event_service.domain.state import deciding
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
    assert set(outcomes) == {"stored"}


def event(number: int, **changes: Any) -> Event:
    at = Instant(f"2026-11-23T06:{number // 60:02}:{number % 60:02}.000000Z")
    return replace(EVENT, id=f"e{number}", occurred_at=at, **changes)


def ids(page: Any) -> list[str]:
    return [text.split('"')[3] for text in page.events]


def test_pages_follow_one_another_while_events_are_written(
    aws: Aws, pool: ThreadPoolExecutor, history: EventHistory
) -> None:
    """An event written before the cursor shifts nothing, one written after it is seen."""
    store(aws, pool, *(event(number) for number in (10, 20, 30, 40)))
    first = history.item_page(EVENT.pk, Span(), limit=2, deadline=LATER)
    store(aws, pool, event(5), event(35))
    second = history.item_page(EVENT.pk, Span(), limit=10, cursor=first.cursor, deadline=LATER)
    assert (ids(first), ids(second), second.cursor) == (["e10", "e20"], ["e30", "e35", "e40"], None)


def test_a_span_has_its_start_and_not_its_end(aws: Aws, pool: ThreadPoolExecutor, history: EventHistory) -> None:
    """So that adjacent spans have each event once."""
    store(aws, pool, *(event(number) for number in (10, 20, 30)))
    span = Span(event(10).occurred_at, event(30).occurred_at)
    assert ids(history.item_page(EVENT.pk, span, limit=10, deadline=LATER)) == ["e10", "e20"]
    closed = replace(span, includes_end=True)
    assert ids(history.item_page(EVENT.pk, closed, limit=10, deadline=LATER)) == ["e10", "e20", "e30"]


@pytest.mark.parametrize("cursor", ["x", "é", "W10", "WyJwayIsICJhIl0", "bnVsbA", "", LONE_SURROGATE])
def test_a_malformed_cursor_is_refused(history: EventHistory, cursor: str) -> None:
    """Before anything is read."""
    with pytest.raises(InvalidCursor, match="is no cursor"):
        history.item_page(EVENT.pk, Span(), limit=1, cursor=cursor, deadline=LATER)


def test_a_cursor_of_another_query_is_refused(aws: Aws, pool: ThreadPoolExecutor, history: EventHistory) -> None:
    """Be it of another item, of a user, or beyond the span."""
    store(aws, pool, event(10), event(20))
    cursor = history.item_page(EVENT.pk, Span(), limit=1, deadline=LATER).cursor
    reads: list[Callable[[], object]] = [
        lambda: history.item_page("reminder#other", Span(), limit=1, cursor=cursor, deadline=LATER),
        lambda: history.user_page(EVENT.user_id, Span(), limit=1, cursor=cursor, deadline=LATER),
        lambda: history.item_page(EVENT.pk, Span(event(15).occurred_at), limit=1, cursor=cursor, deadline=LATER),
    ]
    for read in reads:
        with pytest.raises(InvalidCursor, match="another query"):
            read()


def test_a_user_has_the_events_of_every_item(aws: Aws, pool: ThreadPoolExecutor, history: EventHistory) -> None:
    """In order, page by page, and only that user's."""
    store(aws, pool, event(10), event(20, item_id="other"), event(30), event(40, user_id="user-b"))
    first = history.user_page("user-a", Span(), limit=2, deadline=LATER)
    second = history.user_page("user-a", Span(), limit=2, cursor=first.cursor, deadline=LATER)
    assert (ids(first), ids(second)) == (["e10", "e20"], ["e30"])


def test_event_data_is_read_as_it_was_stored(aws: Aws, pool: ThreadPoolExecutor, history: EventHistory) -> None:
    """To the last digit, compressed or not."""
    large = EXACT[:-1] + ',"text":"' + "long " * 1000 + '"}'
    store(aws, pool, event(10, data=EXACT), event(20, data=large))
    page = history.item_page(EVENT.pk, Span(), limit=2, deadline=LATER)
    assert [text.endswith(f'"eventData":{data}}}') for text, data in zip(page.events, (EXACT, large), strict=True)] == [
        True,
        True,
    ]


def test_a_page_ends_before_an_answer_would_be_too_large(
    aws: Aws, pool: ThreadPoolExecutor, history: EventHistory
) -> None:
    """Large events take more pages; no event is left out."""
    store(aws, pool, *(event(number, data='{"text":"' + "x" * 900_000 + '"}') for number in range(10)))
    seen, cursor, sizes = [], None, []
    while True:
        page = history.item_page(EVENT.pk, Span(), limit=1000, cursor=cursor, deadline=LATER)
        seen += ids(page)
        sizes.append(sum(map(len, page.events)))
        if (cursor := page.cursor) is None:
            break
    assert seen == [f"e{number}" for number in range(10)]
    assert max(sizes) < 4 * 1024 * 1024


def test_the_first_page_of_a_long_history_is_one_request(
    aws: Aws, pool: ThreadPoolExecutor, history: EventHistory, client: Faulty
) -> None:
    """With 10,000 events; and reading all of them takes only the memory of a few pages."""
    base = event(0, data='{"text":"' + "x" * 400 + '"}')
    items = [to_item(replace(base, id=f"e{number:05}"), base.occurred_at) for number in range(10_000)]

    def write(start: int) -> None:
        requests: Any = [{"PutRequest": {"Item": item}} for item in items[start : start + 25]]
        assert not aws.dynamodb.batch_write_item(RequestItems={aws.table: requests})["UnprocessedItems"]

    for _ in pool.map(write, range(0, len(items), 25)):
        pass
    page = history.item_page(EVENT.pk, Span(), limit=100, deadline=LATER)
    assert (len(page.events), client.requests) == (100, ["query"])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert sum(1 for _ in history.records(EVENT.pk, deadline=LATER)) == 10_000
    assert (
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 16 * 1024
    )  # KiB; all of them are several times that


def test_the_state_at_an_instant_is_read_from_its_end(
    aws: Aws, pool: ThreadPoolExecutor, history: EventHistory, client: Faulty
) -> None:
    """One request, however long the history before; a deletion wins at its instant; each user has a state."""
    deleted = event(30, event_type="reminder:deleted")
    same_time = replace(event(30), id="z", event_type="reminder:updated")
    store(aws, pool, *(event(number) for number in range(20)), deleted, same_time, event(25, user_id="user-b"))

    def state(at: int, user_id: str | None = None) -> str | None:
        span = Span(end=event(at).occurred_at, includes_end=True)
        client.requests.clear()
        found = deciding(history.records(EVENT.pk, span, newest_first=True, deadline=LATER), user_id)
        assert client.requests == ["query"]
        return None if found is None else found.id

    assert [state(19), state(29), state(30), state(29, "user-a"), state(59, "user-b")] == [
        "e19", "e25", "e30", "e19", "e25",
    ]  # fmt: skip
    assert state(59, "nobody") is None
