import pytest

from event_service.config import ConfigurationError, DatabaseSettings, Settings

COMPLETE = {
    "EVENT_STORE_TABLE": "events",
    "NOTIFICATION_TOPIC_ARN": "arn:aws:sns:eu-west-1:123456789012:notifications",
    "DATABASE_SECRET_ARN": "arn:aws:secretsmanager:eu-west-1:123456789012:secret:database",
    "DATABASE_HOST": "db.example.com",
    "DATABASE_NAME": "events",
}


def test_settings_have_defaults_where_the_contract_has() -> None:
    """Port 5432 and no retention limit."""
    settings = Settings.from_environment(COMPLETE)
    assert settings.event_retention_days == 0
    assert settings.database.port == 5432


@pytest.mark.parametrize("name", COMPLETE)
def test_a_missing_variable_is_named(name: str) -> None:
    """Whichever it is, the message says so."""
    environment = {key: value for key, value in COMPLETE.items() if key != name}
    with pytest.raises(ConfigurationError, match=f"^{name} is not set"):
        Settings.from_environment(environment)


@pytest.mark.parametrize("name", ["EVENT_RETENTION_DAYS", "DATABASE_PORT"])
@pytest.mark.parametrize("value", ["-1", "1.5", "ten", "\u0661"])
def test_what_must_be_a_number_is_one(name: str, value: str) -> None:
    """The message names the variable."""
    with pytest.raises(ConfigurationError, match=f"^{name} is not a whole number"):
        Settings.from_environment(COMPLETE | {name: value})


def test_a_url_wins_over_the_secret() -> None:
    """Locally nothing else is needed."""
    assert DatabaseSettings.from_environment(COMPLETE | {"DATABASE_URL": "postgresql:///x"}) == DatabaseSettings(
        url="postgresql:///x"
    )
