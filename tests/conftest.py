"""The real backends that tests run against, started once; each test has its own database, table and topic."""

import itertools
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path

import botocore.session
import pytest

from event_service.config import DatabaseSettings
from event_service.migrate.schema import migrate
from local.stack import Stack, create_database, running_stack
from tests.support.aws import Aws, function_environment, make_aws
from tests.support.sampling import FULL
from tests.support.world import World

FAULT_MATRIX = "fault matrix"  # the property in which tests/faults counts its runs

_numbers = itertools.count(1)


def pytest_report_header() -> str:
    """Say which share of the large matrices runs."""
    return "large matrices: " + ("in full" if FULL else "a fixed sample (EVENT_SERVICE_TESTS=full runs everything)")


@pytest.fixture(scope="session", autouse=True)
def _models_read_once() -> Iterator[None]:
    """Let all sessions of botocore share the service models, which take longer to read than most tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(botocore.session, "create_loader", lru_cache(botocore.session.create_loader))
        yield


@pytest.fixture(scope="session")
def server_directories() -> Iterator[Callable[[], Path]]:
    """Make directories for servers.

    As root, PostgreSQL runs as another user, who cannot enter pytest's own directories once another session has
    started: it withdraws everybody else's permissions.
    """
    with tempfile.TemporaryDirectory(prefix="event-service-") as directory:
        Path(directory).chmod(0o755)
        numbers = itertools.count()

        def make() -> Path:
            made = Path(directory) / str(next(numbers))
            made.mkdir()
            return made

        yield make


@pytest.fixture(scope="session")
def stack(server_directories: Callable[[], Path]) -> Iterator[Stack]:
    """Run the stack for the whole session, with the environment pointing at it."""
    with running_stack(server_directories()) as running, pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
            patch.delenv(name, raising=False)
        for name, value in running.environment().items():
            patch.setenv(name, value)
        yield running


@pytest.fixture(scope="session")
def migrated_template(stack: Stack) -> str:
    """Return the name of a migrated database to make others from."""
    migrate(DatabaseSettings(url=create_database(stack, "migrated")))
    return "migrated"


@pytest.fixture
def database_url(stack: Stack, migrated_template: str) -> str:
    """Return the URL of a fresh, migrated database."""
    return create_database(stack, f"test_{next(_numbers)}", migrated_template)


@pytest.fixture
def aws(stack: Stack) -> Aws:
    """Make a fresh table, topic and queue."""
    return make_aws(stack)


@pytest.fixture
def service_environment(stack: Stack, aws: Aws, database_url: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Set the function's environment for the handler in this process."""
    environment = function_environment(stack, aws, database_url)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return environment


@pytest.fixture
def world(aws: Aws, database_url: str, service_environment: dict[str, str]) -> Iterator[World]:
    """An empty world in which the function can be invoked."""
    world = World(aws, database_url)
    yield world
    world.close()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print how many faults were tried and how often facts were published again."""
    counted: dict[str, list[tuple[int, int, int]]] = defaultdict(list)
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties:
            if name == FAULT_MATRIX:
                counted[value[0]].append(value[1:])
    for way, tests in counted.items():
        positions, runs, repeats = zip(*tests, strict=True)
        terminalreporter.write_line(
            f"fault matrix, {way}: {max(positions)} positions x {len(tests)} modes,"
            f" {sum(runs)} runs, {sum(repeats)} facts published again, 0 lost"
        )
