"""The workers of a rebuild: processes that stop when they are told to, or when the process that started them ends."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from typing import Protocol


class StopSign(Protocol):
    """The common part of the `Event` of threads and that of processes."""

    def is_set(self) -> bool: ...
    def wait(self, timeout: float | None = None) -> bool: ...


_stop: StopSign = threading.Event()


def stop_with(sign: StopSign) -> None:
    """Let this worker end its segment after the current page once the sign is set."""
    global _stop  # noqa: PLW0603  # of a worker, which an executor starts
    _stop = sign


def should_stop() -> bool:
    """Tell whether this worker is to stop after the current page."""
    return _stop.is_set()


def pause(seconds: float) -> None:
    """Wait, but not longer than until this worker is to stop."""
    _stop.wait(seconds)


def make_workers(workers: int) -> tuple[Executor, Callable[[], None]]:
    """Return the workers, and a function that makes them stop after the current page."""
    if workers == 1:
        here = threading.Event()
        return ThreadPoolExecutor(1, initializer=stop_with, initargs=(here,)), here.set
    context = multiprocessing.get_context("spawn")
    everywhere = context.Event()
    return ProcessPoolExecutor(workers, context, _start_worker, (everywhere,)), everywhere.set


def _start_worker(stop: StopSign) -> None:
    """Prepare a worker process; it exits when the process that started it dies."""
    stop_with(stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_wait_for_parent, daemon=True).start()


def _wait_for_parent() -> None:
    if (parent := multiprocessing.parent_process()) is not None:
        parent.join()
        os._exit(1)
