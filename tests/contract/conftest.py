"""The world of one test: fresh resources, a fresh database and the function in this process."""

from typing import Any

import pytest

from .world import World


@pytest.fixture
def world(aws: Any, database_url: str, service_environment: None) -> World:
    """An empty world in which the function can be invoked."""
    return World(aws, database_url)
