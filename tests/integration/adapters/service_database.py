"""Connections as the service has them."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from event_service.adapters.postgres import Database, SecretsClient
from event_service.config import DatabaseSettings

POOL = ThreadPoolExecutor(4)


def no_secrets() -> Any:
    raise AssertionError("with a URL, no secret is read")


def database_at(url: str) -> Database:
    """Return the database at a libpq URL; it is connected to when it is asked something."""
    return Database(DatabaseSettings(url=url), no_secrets, POOL)


def database_with(settings: DatabaseSettings, secrets: SecretsClient) -> Database:
    """Return the database of an RDS endpoint."""
    return Database(settings, secrets, POOL)
