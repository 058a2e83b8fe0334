"""Two users whose events have the same personal data."""

import pytest

from tests.integration.commands.personal_data import personal
from tests.support.aws import Aws, published
from tests.support.histories import deliver


@pytest.fixture
def url(aws: Aws, service_environment: dict[str, str]) -> str:
    """Two users with the same data; the one is to be forgotten. The URL of their database."""
    deliver(personal("user-a") + personal("user-b"))
    published(aws, 14)
    return service_environment["DATABASE_URL"]
