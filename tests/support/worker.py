"""The function in a separate process, which a test can kill at any moment, as Lambda can end an environment."""

import contextlib
import io
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from types import SimpleNamespace
from typing import Any

# Forked from a process that has imported the function: starting one costs hundredths of a second.
_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(["event_service.handler"])

_ANSWER_SECONDS = 60


@dataclass(frozen=True)
class Delivery:
    """A batch to handle; `cold`: as an execution environment that has no connection to PostgreSQL yet."""

    records: Sequence[Mapping[str, Any]]
    seconds_left: float
    cold: bool = False


@dataclass(frozen=True)
class Limits:
    """The first pause between retries, and the time limit of a request (None: the function's own).

    With short ones, thousands of faults take minutes.
    """

    pause_seconds: float = 0.005
    request_seconds: float | None = None


@dataclass(frozen=True)
class Answer:
    """The message ids of the failed records, and what was logged."""

    failed: frozenset[str]
    log: str


@dataclass(frozen=True)
class Worker:
    """A running process."""

    process: BaseProcess
    connection: Connection

    def handle(self, delivery: Delivery, kill_after: float | None = None) -> Answer | None:
        """Return the function's answer, or None if the process died before it answered.

        With `kill_after`, the process is killed after that many seconds unless it has answered by then.
        """
        killer = threading.Timer(kill_after, self.process.kill) if kill_after is not None else None
        if killer:
            killer.start()
        try:
            self.connection.send(delivery)
            assert self.connection.poll(_ANSWER_SECONDS), "the function did not return"
            answer: Answer = self.connection.recv()
        except (EOFError, ConnectionError):
            self.stop()
            return None
        finally:
            if killer:
                killer.cancel()
                killer.join()
        return answer

    def kill(self) -> None:
        """Kill it with SIGKILL and wait until it is gone."""
        self.process.kill()
        self.process.join()

    def is_alive(self) -> bool:
        """Whether the process is running."""
        return self.process.is_alive()

    def stop(self) -> None:
        """Kill it and close its pipe."""
        self.kill()
        self.connection.close()


def start_worker(
    environment: Mapping[str, str], limits: Limits | None = None, prepare: Callable[[], None] | None = None
) -> Worker:
    """Start a process with this environment; `limits` shorten the function's own, `prepare` is called in it first."""
    ours, theirs = _processes.Pipe()
    process = _processes.Process(target=_serve, args=(theirs, dict(environment), limits, prepare), daemon=True)
    process.start()
    theirs.close()
    return Worker(process, ours)


def _serve(
    connection: Connection, environment: dict[str, str], limits: Limits | None, prepare: Callable[[], None] | None
) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ.update(environment)
    if limits is not None:
        _shorten(limits)
    if prepare is not None:
        prepare()
    from event_service import handler
    from event_service.config import Settings

    while True:
        try:
            delivery: Delivery = connection.recv()
        except EOFError:
            return
        log = io.StringIO()
        with contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
            if delivery.cold:
                database = handler.build(Settings.from_environment(os.environ)).backends.relay.notifications.database
                if database._connection is not None:
                    database._connection.close()
                    database._connection = None
            end = time.monotonic() + delivery.seconds_left
            context = SimpleNamespace(get_remaining_time_in_millis=lambda end=end: (end - time.monotonic()) * 1000)
            answer = handler.lambda_handler({"Records": list(delivery.records)}, context)
        failed = frozenset(failure["itemIdentifier"] for failure in answer["batchItemFailures"])
        connection.send(Answer(failed, log.getvalue()))


def _shorten(limits: Limits) -> None:
    from event_service import deadline
    from event_service.adapters import aws
    from event_service.adapters import postgres as database

    replaced: list[tuple[Any, str, float]] = [(deadline, "_FIRST_PAUSE_SECONDS", limits.pause_seconds)]
    if limits.request_seconds is not None:
        seconds = limits.request_seconds
        replaced += [(aws, "_READ_SECONDS", seconds), (database, "_STATEMENT_SECONDS", seconds)]
    for module, name, value in replaced:
        assert hasattr(module, name)
        setattr(module, name, value)
