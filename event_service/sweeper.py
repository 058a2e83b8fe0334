"""The scheduled Lambda function that publishes orphaned facts, which would otherwise wait for the next batch."""

import os
from collections.abc import Callable
from typing import Any, Final, TypeVar

from event_service.config import Settings
from event_service.deadline import Deadline
from event_service.errors import RecordError, out_of_time
from event_service.handler import build, deadline_of
from event_service.steps.relay import ORPHANED_FACTS_AT_ONCE, publish_orphaned
from event_service.telemetry import report_sweep

_SECONDS_TO_MEASURE: Final = 5

Result = TypeVar("Result")


def lambda_handler(_event: Any, context: Any) -> dict[str, float]:
    """Publish orphaned facts, oldest first, as many as there is time for; then measure the outbox.

    Returns:
        How many facts were published and failed, how many wait now, and for how many seconds the oldest has.

    Raises:
        ConfigurationError: an environment variable is missing or wrong.
        RecordError: PostgreSQL is unavailable.

    """
    service = build(Settings.from_environment(os.environ))
    relay, deadline = service.backends.relay, deadline_of(context)
    until = deadline.within(deadline.remaining() - _SECONDS_TO_MEASURE)
    claimed = _retried(lambda: relay.notifications.acknowledge([], ORPHANED_FACTS_AT_ONCE, until), until)
    orphaned = publish_orphaned(claimed, relay, until)
    facts, oldest_seconds = _retried(lambda: relay.notifications.outbox_age(deadline), deadline)
    report_sweep(service.telemetry, orphaned, facts, oldest_seconds)
    failed = sum(error is not None for error in orphaned.values())
    return {
        "published": len(orphaned) - failed,
        "failed": failed,
        "waiting": facts,
        "oldestSeconds": oldest_seconds,
    }


def _retried(attempt: Callable[[], Result], deadline: Deadline) -> Result:
    """Return the result of an attempt; attempt it again, until the deadline, if it fails for a transient reason."""
    error: RecordError = out_of_time()
    for _ in deadline.attempts():
        try:
            return attempt()
        except RecordError as exc:
            error = exc
            if not exc.retryable:
                break
    raise error
