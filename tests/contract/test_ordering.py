"""§5: order does not matter for what is; §4: which facts tell how it came about."""

import itertools
import random
from collections.abc import Sequence
from dataclasses import replace

import pytest

from tests.support.formats import native_raw
from tests.support.messages import text
from tests.support.oracle import Event, Model, modelled
from tests.support.tables import comparable
from tests.support.world import World

CREATED, UPDATED, DELETED = "reminder:created", "reminder:updated", "reminder:deleted"
COMMAND, COMMAND_DELETE = "notification:update", "notification:delete"


def event(name: str, time: int, kind: str, item: str = "R1", user: str = "user-a") -> Event:
    """An event at the given second, its data telling which one it was."""
    return Event(
        id=name,
        occurred_at=f"2026-11-23T06:00:{time:02}.000000Z",
        event_type=kind,
        item_id=item,
        user_id=user,
        user_email=f"{name}@example.com",
        data_text=text({"date": f"2027-01-01T00:00:{time:02}.000Z", "message": name, "url": None}),
    )


def run(world: World, batches: Sequence[Sequence[Event]]) -> Model:
    """Deliver the batches and compare everything with the model."""
    for batch in batches:
        world.accept(*map(native_raw, batch))
    model = modelled(batches)
    world.check(model)
    return model


def test_a_batch_is_applied_oldest_first_however_often_its_events_were_delivered(world: World) -> None:
    """Each has its fact, also the older one that comes back while the newer one is new."""
    older, newer = event("older", 1, CREATED), event("newer", 2, UPDATED)
    came_back = native_raw(older)
    came_back |= {"attributes": came_back["attributes"] | {"ApproximateReceiveCount": "3"}}
    world.accept(native_raw(newer), came_back)
    world.check(modelled([[older, newer]]))


TIES = {
    "a deletion wins": [event("z", 1, CREATED), event("a", 1, DELETED), event("b", 1, UPDATED)],
    "the greater id wins": [event("a", 1, CREATED), event("b", 1, UPDATED), event("B", 1, UPDATED)],
    "by code point, not by language": [event("Z", 1, CREATED), event("a", 1, UPDATED), event("é", 1, UPDATED)],
    "by code point beyond 16 bits": [event("\uffee", 1, CREATED), event("🎉", 1, UPDATED)],
    "by code point, punctuation too": [event("a-b", 1, CREATED), event("ab", 1, UPDATED), event("a_b", 1, UPDATED)],
    "the greater pk wins": [event("a", 1, UPDATED), event("a", 1, COMMAND)],
    "a deletion with the lesser pk wins": [event("a", 1, COMMAND_DELETE), event("a", 1, UPDATED)],
    "the greater of two deletions wins": [event("a", 1, DELETED), event("b", 1, COMMAND_DELETE)],
}


def test_ties_are_decided_whatever_the_order(world: World) -> None:
    """Of events at the same instant the same one decides in every order, one batch each or one for all."""
    steps: list[list[Event]] = [[], [], []]
    for case, events in TIES.items():
        steps[0] += [renamed(each, f"{case}, together") for each in events]
        for number, order in enumerate(itertools.permutations(events)):
            for step, each in zip(steps, order, strict=False):
                step.append(renamed(each, f"{case}, {number}"))
    model = run(world, steps)
    deciders = {(item.partition(",")[0], row.decider.precedence[:3]) for (_, item), row in model.rows.items()}
    assert len(deciders) == len(TIES)


def renamed(event: Event, item: str) -> Event:
    return replace(event, item_id=item)


LIFE = [event("c", 1, CREATED), event("u", 2, UPDATED), event("d", 3, DELETED), event("n", 4, COMMAND)]


def test_every_order_of_a_life_ends_the_same(world: World) -> None:
    """All orders of created, updated, deleted and created again leave one row; each its own facts."""
    orders = list(itertools.permutations(LIFE))
    steps = [[renamed(order[step], f"R{number}") for number, order in enumerate(orders)] for step in range(len(LIFE))]
    run(world, steps)
    rows = [comparable(row) | {"item_id": ""} for row in world.rows().values()]
    assert len(rows) == len(orders)
    for row in rows:
        row["notification_data"].pop("reminderId")
        assert row == rows[0]


FACTS = {
    "a life": ([CREATED, UPDATED, DELETED], ["created", "updated", "deleted"]),
    "an update before its create creates": ([UPDATED], ["created"]),
    "a second create replaces": ([CREATED, CREATED], ["created", "updated"]),
    "created again after its deletion": ([CREATED, DELETED, UPDATED], ["created", "deleted", "created"]),
    "a deletion of nothing leaves a tombstone": ([DELETED], []),
    "a deletion of what is deleted": ([CREATED, DELETED, COMMAND_DELETE], ["created", "deleted"]),
    "by commands": (["notification:create", COMMAND, COMMAND_DELETE], ["created", "updated", "deleted"]),
    "another type has no effect": ([CREATED, "reminder:seen", "note:added"], ["created"]),
}


@pytest.mark.parametrize("together", [False, True], ids=["one by one", "one batch"])
def test_facts_tell_what_changed(world: World, *, together: bool) -> None:
    """Created where no live notification was before, updated where one was, deleted where one went."""
    lives = [
        [event(f"e{time}", time, kind, case) for time, kind in enumerate(kinds)] for case, (kinds, _) in FACTS.items()
    ]
    steps = [[each for each in step if each] for step in itertools.zip_longest(*lives)]
    model = run(world, [[each for life in lives for each in life[::-1]]] if together else steps)
    for case, (_, facts) in FACTS.items():
        found = [fact.kind for fact in model.facts if fact.cause.item_id == case]
        assert found == [f"notification:{verb}" for verb in facts], case


def test_late_events_are_stored_and_otherwise_ignored(world: World) -> None:
    """A late event has no fact; it only lowers `created_at`, and nothing resurrects what was deleted later."""
    batches = [
        [event("u", 5, UPDATED)],
        [event("late", 3, UPDATED)],
        [event("c", 1, CREATED)],
        [event("later", 2, DELETED)],
        [event("d", 9, DELETED)],
        [event("resurrects not", 8, UPDATED)],
        [event("earliest", 0, DELETED)],
    ]
    model = run(world, batches)
    assert [fact.kind for fact in model.facts] == ["notification:created", "notification:deleted"]
    assert world.row()["created_at"].second == 0


def test_a_deletions_fact_is_built_from_the_deletion_alone(world: World) -> None:
    """A deletion with empty data, or an unusable date, has a fact without a time of delivery."""
    datas = ["{}", '{"date":"+060000-01-01T00:00:00.000Z"}', '{"date":null,"message":5}', '{"date":5,"x":[1.00]}']
    items = [f"R{number}" for number in range(len(datas))]
    created = [event("c", 1, CREATED, item) for item in items]
    deleted = [replace(event("d", 2, DELETED, item), data_text=data) for item, data in zip(items, datas, strict=True)]
    run(world, [created, deleted])
    deletions = [m.body["eventData"] for m in world.facts_seen if m.body["eventType"] == "notification:deleted"]
    assert [data["deliverAt"] for data in deletions] == [None] * len(datas)


def test_users_and_items_are_separate(world: World) -> None:
    """The same item of two users, and two items of one user, have separate notifications."""
    run(
        world,
        [
            [event("a", 1, CREATED), event("b", 2, CREATED, user="user-b"), event("c", 3, CREATED, item="R2")],
            [event("d", 4, DELETED, user="user-b")],
        ],
    )


def test_random_batches_agree_with_the_model(world: World) -> None:
    """Shuffled, repeated and cut into batches, events of few items at few instants do what the model does."""
    random_source = random.Random(20261123)
    kinds = [CREATED, UPDATED, DELETED, COMMAND, COMMAND_DELETE, "notification:create", "note:added"]
    events = [
        event(f"e{number}", random_source.randrange(6), random_source.choice(kinds), f"R{number % 8}")
        for number in range(120)
    ]
    deliveries = events + random_source.choices(events, k=80)
    random_source.shuffle(deliveries)
    cuts = sorted(random_source.sample(range(len(deliveries)), 12))
    run(world, [deliveries[a:b] for a, b in itertools.pairwise([0, *cuts, len(deliveries)]) if a < b])


def test_a_notifications_id_is_the_same_after_a_rebuild(world: World) -> None:
    """The id depends on user and item alone: rows that are created again have the same ids."""
    batch = [event("a", 1, CREATED), event("b", 1, CREATED, item="R2"), event("c", 1, CREATED, user="user-b")]
    world.accept(*map(native_raw, batch))
    before = world.rows()
    world.tables.lose_rows()
    world.accept(*(native_raw(event(f"new {each.id}", 7, UPDATED, each.item_id, each.user_id)) for each in batch))
    after = world.rows()
    assert {key: row["id"] for key, row in after.items()} == {key: row["id"] for key, row in before.items()}
    assert len({row["id"] for row in after.values()}) == len(batch)


def test_the_databases_own_settings_do_not_matter(world: World) -> None:
    """Another time zone, date style and collation of the database change neither rows nor facts."""
    name = world.query("SELECT current_database() AS name")[0]["name"]
    settings = {"TimeZone": "Pacific/Chatham", "DateStyle": "SQL, DMY", "IntervalStyle": "sql_standard"}
    for setting, value in (settings | {"default_transaction_isolation": "serializable"}).items():
        world.query(f"ALTER DATABASE {name} SET {setting} TO '{value}'")
    run(world, [LIFE[:2], LIFE[2:], TIES["the greater id wins"]])
