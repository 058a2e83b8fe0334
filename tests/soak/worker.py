"""The handler in a process of its own that can be killed at any moment."""

import multiprocessing
import os
import sys
import threading
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

_INVOCATION_SECONDS = 20


class Context:
    """An invocation with 20 seconds to go."""

    def __init__(self) -> None:
        self._end = time.monotonic() + _INVOCATION_SECONDS

    def get_remaining_time_in_millis(self) -> int:
        return int((self._end - time.monotonic()) * 1000)


@dataclass
class Worker:
    """A running process, and the way to it."""

    process: multiprocessing.process.BaseProcess
    connection: Connection

    def handle(self, records: list[Any], kill_after: float | None) -> list[str] | None:
        """Return the ids of the records that failed, or None if the process was killed meanwhile."""
        killer = threading.Timer(kill_after, self.process.kill) if kill_after is not None else None
        if killer:
            killer.start()
        try:
            self.connection.send(records)
            answer = self.connection.recv()
        except (EOFError, OSError):
            return None
        finally:
            if killer:
                killer.cancel()
                killer.join()
        return [failure["itemIdentifier"] for failure in answer["batchItemFailures"]]

    def is_alive(self) -> bool:
        return self.process.is_alive()

    def end(self) -> None:
        self.process.kill()
        self.process.join()
        self.connection.close()


def start_worker(environment: dict[str, str]) -> Worker:
    """Start a process; what it needs is loaded before it is asked to do anything."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=_work, args=(theirs, environment), daemon=True)
    process.start()
    theirs.close()
    return Worker(process, ours)


def _work(connection: Connection, environment: dict[str, str]) -> None:
    os.environ.update(environment)
    sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115  # as long as the process lives
    from event_service.handler import lambda_handler

    while True:
        connection.send(lambda_handler({"Records": connection.recv()}, Context()))
