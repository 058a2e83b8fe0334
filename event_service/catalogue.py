"""The event catalogue: the known types."""

from typing import Any

from event_service.events import KNOWN_TYPES


def event_types() -> list[dict[str, Any]]:
    """Return each known type with its effect."""
    return [{"name": name, "effect": effect} for name, effect in KNOWN_TYPES.items()]
