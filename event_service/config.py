"""The settings of the service, read from the environment once."""

from collections.abc import Mapping
from dataclasses import dataclass


class ConfigurationError(Exception):
    """A setting is missing or wrong; the message names the environment variable."""


@dataclass(frozen=True, slots=True)
class DatabaseSettings:
    """How to reach PostgreSQL: a libpq URL, or an RDS endpoint whose user and password are in a secret.

    `certificates` is a file of certificate authorities in `event_service/certificates`; empty means Amazon RDS's.
    """

    url: str = ""
    secret_arn: str = ""
    host: str = ""
    port: int = 5432
    name: str = ""
    certificates: str = ""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "DatabaseSettings":
        """Read `DATABASE_URL` or, if it is not set, the other `DATABASE_*` variables.

        Raises:
            ConfigurationError: one is missing or wrong.

        """
        if url := environment.get("DATABASE_URL"):
            return cls(url=url)
        if not environment.get("DATABASE_SECRET_ARN"):
            raise ConfigurationError("DATABASE_SECRET_ARN is not set, and neither is DATABASE_URL")
        return cls(
            secret_arn=required(environment, "DATABASE_SECRET_ARN"),
            host=required(environment, "DATABASE_HOST"),
            port=_whole_number(environment, "DATABASE_PORT", 5432),
            name=required(environment, "DATABASE_NAME"),
            certificates=environment.get("DATABASE_CERTIFICATES", ""),
        )


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of the function.

    `event_retention_days` 0 keeps events forever. Without `rejected_topic_arn`, rejected records fail.
    """

    event_store_table: str
    notification_topic_arn: str
    database: DatabaseSettings
    event_retention_days: int
    service_name: str
    metrics_namespace: str
    rejected_topic_arn: str | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Settings":
        """Read the settings.

        Raises:
            ConfigurationError: one is missing or wrong.

        """
        return cls(
            event_store_table=event_store_table(environment),
            notification_topic_arn=required(environment, "NOTIFICATION_TOPIC_ARN"),
            database=DatabaseSettings.from_environment(environment),
            event_retention_days=event_retention_days(environment),
            service_name=environment.get("POWERTOOLS_SERVICE_NAME") or "event-service",
            metrics_namespace=environment.get("POWERTOOLS_METRICS_NAMESPACE") or "EventService",
            rejected_topic_arn=environment.get("REJECTED_TOPIC_ARN") or None,
        )


def event_store_table(environment: Mapping[str, str]) -> str:
    """Return the name of the event store's table.

    Raises:
        ConfigurationError: it is missing.

    """
    return required(environment, "EVENT_STORE_TABLE")


def event_retention_days(environment: Mapping[str, str]) -> int:
    """Return how long events are kept, in days; 0 means forever.

    Raises:
        ConfigurationError: it is not a whole number.

    """
    return _whole_number(environment, "EVENT_RETENTION_DAYS", 0)


def required(environment: Mapping[str, str], name: str) -> str:
    """Return the value of a variable.

    Raises:
        ConfigurationError: it is missing or empty.

    """
    value = environment.get(name)
    if not value:
        raise ConfigurationError(f"{name} is not set")
    return value


def _whole_number(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name) or str(default)
    if not (text.isascii() and text.isdecimal()):
        raise ConfigurationError(f"{name} is not a whole number of 0 or more")
    return int(text)
