"""The template as it is, built by `sam build` and deployed by `sam deploy`, once for all end-to-end tests."""

import fcntl
import os
from pathlib import Path

import pytest

from local import state
from local.deployment import BUILD, Deployment, build, deploy
from local.serve import function_environment
from local.stack import Stack, create_database
from local.world import World


@pytest.fixture(scope="session")
def database(stack: Stack) -> Stack:
    """The stack, its database being one for the deployed function."""
    url = create_database(stack, "deployed")
    return Stack(url, stack.endpoint_url)


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build once for all workers of this run, which share the directory."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    with (shared / "build.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (shared / "built").exists():
            build()
            (shared / "built").touch()
    return BUILD


@pytest.fixture(scope="session")
def deployment(database: Stack, built: Path) -> Deployment:
    return deploy(database, {"DatabaseUrl": database.database_url}, directory=built)


@pytest.fixture(scope="session")
def world(database: Stack, deployment: Deployment) -> World:
    """The deployed service, its function started."""
    world = World(database, deployment)
    world.publish("order:placed", {"userId": "first", "itemId": "first", "eventData": {}})
    world.wait("the first event", lambda: bool(world.events("order#first")))
    return world


@pytest.fixture
def state_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a test play `make local` without disturbing a real one."""
    monkeypatch.setattr(state, "_FILE", tmp_path / "stack.json")


@pytest.fixture
def built_function_environment(database: Stack, deployment: Deployment) -> dict[str, str]:
    """The environment in which the built function finds the stack."""
    return function_environment(database, deployment)
