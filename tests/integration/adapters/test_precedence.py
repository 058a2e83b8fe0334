"""PostgreSQL and Python agree on which of two events decides, whatever the collation of the database."""

import random
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from event_service.codec.instants import Instant
from event_service.config import DatabaseSettings
from event_service.domain.event import Effect
from event_service.domain.precedence import Precedence, precedence_of
from event_service.migrate.schema import migrate
from local.stack import Stack, create_database

EFFECTS: tuple[Effect, ...] = ("create", "update", "delete")
EFFECT_OF = {precedence_of(Instant(""), effect, "", "").effect: effect for effect in EFFECTS}
# Letters that languages order differently from code points, and the ends of the planes.
LETTERS = "aAbBzZ09 -_#/\u00e9e\u0301\u00df\u0131\u4e2d\u3042\ud7ff\ue000\uffee\uffff\U00010000\U0001f600\U0010ffff"


@pytest.fixture(params=["code points", "a language"])
def connection(request: pytest.FixtureRequest, stack: Stack) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    """A migrated database that compares text by code point, or as a language does."""
    name = "precedence"
    url = create_database(stack, name)
    if request.param == "a language":
        with psycopg.connect(stack.database_url, autocommit=True) as server:
            locale = server.execute(
                "SELECT min(collcollate) FROM pg_collation WHERE collprovider = 'c' AND collcollate ~* '^en_.*utf-?8$'"
            ).fetchone()
            if locale in (None, (None,)):
                pytest.skip("neither PostgreSQL nor this machine has the rules of a language")
            assert locale is not None
            server.execute(f"DROP DATABASE {name}".encode())
            server.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8' LOCALE '{locale[0]}'".encode())
    migrate(DatabaseSettings(url=url))
    with psycopg.connect(url, autocommit=True) as connection:
        assert connection.execute("SELECT 'a' < 'B'").fetchone() == (request.param == "a language",)
        yield connection


def drawn(count: int) -> list[Precedence]:
    """Precedences that often agree in their first fields."""
    draw = random.Random(0)  # not a secret

    def text() -> str:
        return "".join(draw.choices(LETTERS, k=draw.choice((1, 1, 2, 3))))

    instants = ["0001-01-01T00:00:00.000000Z", "2026-11-23T12:00:00.000001Z", "9999-12-31T23:59:59.999999Z"]
    return [
        precedence_of(Instant(draw.choice(instants)), draw.choice(EFFECTS), text(), f"reminder#{text()}")
        for _ in range(count)
    ]


def test_the_order_is_the_same(connection: psycopg.Connection[tuple[Any, ...]]) -> None:
    """Pair by pair, and for a whole list of events."""
    left, right = drawn(5000), drawn(10_000)[5000:]
    right[:500] = [place._replace(stream=other.stream) for place, other in zip(left[:500], right, strict=False)]
    right[500:1000] = [place._replace(id=other.id) for place, other in zip(left[500:1000], right[500:], strict=False)]

    def columns(places: list[Precedence]) -> list[list[Any]]:
        rows = [(place.occurred_at, EFFECT_OF[place.effect], place.id, place.stream) for place in places]
        return [[*column] for column in zip(*rows, strict=True)]

    found = connection.execute(
        "SELECT CASE WHEN a < b THEN -1 WHEN a = b THEN 0 WHEN a > b THEN 1 END FROM ("
        " SELECT number, ROW(t, e, i, s)::precedence AS a, ROW(u, f, j, r)::precedence AS b"
        " FROM unnest(%s::timestamptz[], %s::effect[], %s::text[], %s::text[],"
        " %s::timestamptz[], %s::effect[], %s::text[], %s::text[])"
        " WITH ORDINALITY AS pair(t, e, i, s, u, f, j, r, number)) AS pairs ORDER BY number",
        (*columns(left), *columns(right)),
    ).fetchall()
    assert [answer for (answer,) in found] == [(a > b) - (a < b) for a, b in zip(left, right, strict=True)]
    ordered = connection.execute(
        "SELECT number FROM unnest(%s::timestamptz[], %s::effect[], %s::text[], %s::text[])"
        " WITH ORDINALITY AS place(t, e, i, s, number) ORDER BY ROW(t, e, i, s)::precedence, number",
        columns(left),
    ).fetchall()
    assert [number - 1 for (number,) in ordered] == sorted(range(len(left)), key=lambda number: (left[number], number))


def test_ids_and_streams_compare_by_code_point(database_url: str) -> None:
    """Wherever the database stands: the type says so itself, and so do the columns that say which row it is."""
    with psycopg.connect(database_url) as connection:
        found = connection.execute(
            "SELECT a.attname, c.collname FROM pg_attribute AS a JOIN pg_collation AS c ON c.oid = a.attcollation"
            " WHERE a.attrelid = 'precedence'::regclass OR a.attrelid = 'notifications'::regclass"
            " AND a.attname IN ('user_id', 'subject_type', 'item_id') ORDER BY a.attname"
        ).fetchall()
    assert found == [(name, "C") for name in ("event_id", "item_id", "stream", "subject_type", "user_id")]
