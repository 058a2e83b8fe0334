"""Actors that advance one statement at a time, and the orders in which they can be interleaved."""

import random
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from typing import Any

Order = tuple[str, ...]
Actor = Iterator[None]  # runs up to its next statement each time


def every_order(actors: Mapping[str, str]) -> list[Order]:
    """Every order of the actors' statements, one of each set that differ only in statements that cannot meet.

    An actor is given by the backend of each of its statements, one letter each. Two orders in which every backend sees
    the same statements in the same order are the same.
    """
    found: dict[tuple[Order, ...], Order] = {}
    backends = sorted({letter for letters in actors.values() for letter in letters})
    seen: set[tuple[Order, ...]] = set()

    def extend(order: Order, seen_by: dict[str, Order]) -> None:
        """Continue an order, unless one that no backend can tell from it was continued before."""
        if (state := tuple(seen_by.values())) in seen:
            return
        seen.add(state)
        left = [name for name, letters in actors.items() if order.count(name) < len(letters)]
        for name in left:
            backend = actors[name][order.count(name)]
            extend((*order, name), seen_by | {backend: (*seen_by[backend], name)})
        if not left:
            found[state] = order

    extend((), dict.fromkeys(backends, ()))
    return [*found.values()]


def some_orders(actors: Mapping[str, int], count: int) -> list[Order]:
    """`count` orders of the actors' statements, drawn at random, the same every time."""
    statements = [name for name, number in actors.items() for _ in range(number)]
    draw = random.Random(0)  # not a secret
    return [tuple(draw.sample(statements, len(statements))) for _ in range(count)]


def interleave(order: Sequence[str], actors: Mapping[str, Actor]) -> None:
    """Advance actors in an order, and then each to its end."""
    for actor in actors.values():
        next(actor)  # up to its first statement
    for name in order:
        next(actors[name], None)
    for actor in actors.values():
        for _ in actor:
            pass


def stepwise(run: Callable[[Callable[[], None]], None]) -> Actor:
    """Run a function in a thread; it pauses each time it calls the function that it is given."""
    ready, go = threading.Semaphore(0), threading.Semaphore(0)
    ended: list[BaseException | None] = []

    def pause() -> None:
        ready.release()
        go.acquire()

    def body() -> None:
        go.acquire()
        try:
            run(pause)
            ended.append(None)
        except BaseException as exc:  # noqa: BLE001  # raised again where the actor is advanced
            ended.append(exc)
        ready.release()

    threading.Thread(target=body, daemon=True).start()
    while True:
        go.release()
        ready.acquire()
        if ended:
            break
        yield
    if ended[0] is not None:
        raise ended[0]


class Pausing:
    """Something whose methods of some names pause before they are called."""

    def __init__(self, target: Any, names: set[str], pause: Callable[[str, Any], None]) -> None:
        self._target, self._names, self._pause = target, names, pause

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._target, name)
        if name not in self._names:
            return method

        def paused(*arguments: Any, **named: Any) -> Any:
            self._pause(name, arguments or named)
            return method(*arguments, **named)

        return paused


class Here(Executor):
    """Runs each task at once, in the caller's thread: statements come one after the other."""

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(function(*arguments, **named))
        except BaseException as exc:  # noqa: BLE001  # an executor hands it to the caller
            future.set_exception(exc)
        return future
