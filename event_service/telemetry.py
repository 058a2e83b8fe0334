"""What the operator is told: a log line per failed record, and the metrics of a batch.

Metrics are in CloudWatch's embedded format. Of an event, only its type and ids are logged.
"""

import logging
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TextIO

from aws_lambda_powertools import Logger, Metrics, single_metric
from aws_lambda_powertools.metrics import MetricUnit

from event_service.codec.instants import epoch_seconds, now
from event_service.domain.event import KNOWN_TYPES, EventKey
from event_service.errors import RecordError, Rejected
from event_service.pipeline import BatchResult, RecordOutcome
from event_service.steps.turns import receive_count


class _StandardOutput(logging.StreamHandler[TextIO]):
    """Writes to the current standard output, as metrics do, even if it is replaced."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        return sys.stdout


@dataclass(frozen=True, slots=True)
class Telemetry:
    """The log and the metrics of an execution environment."""

    logger: Logger
    metrics: Metrics


def make_telemetry(service_name: str, namespace: str) -> Telemetry:
    """Return the telemetry of a service; the name is the dimension of every metric."""
    return Telemetry(
        logger=Logger(service=service_name, logger_handler=_StandardOutput()),
        metrics=Metrics(service=service_name, namespace=namespace),
    )


def report(telemetry: Telemetry, records: Sequence[Mapping[str, Any]], result: BatchResult) -> None:
    """Log what went wrong or late in a batch, and emit its metrics."""
    for record, outcome in zip(records, result.outcomes, strict=True):
        if outcome.error is not None:
            _log_failure(telemetry.logger, record, outcome, outcome.error)
    _log_orphaned(telemetry.logger, result.orphaned)
    late, superseded = _late(telemetry.logger, result), _superseded(telemetry.logger, records, result)
    _emit_counts(telemetry.metrics, result, superseded, late)
    _emit_parts(telemetry.metrics, result)


def report_sweep(
    telemetry: Telemetry, orphaned: Mapping[EventKey, RecordError | None], facts: int, oldest_seconds: float
) -> None:
    """Log the orphaned facts that could not be published, and emit what was published and what waits in the outbox."""
    _log_orphaned(telemetry.logger, orphaned)
    published = sum(error is None for error in orphaned.values())
    telemetry.metrics.add_metric("FactsPublished", MetricUnit.Count, published)
    telemetry.metrics.add_metric("OutboxFacts", MetricUnit.Count, facts)
    telemetry.metrics.add_metric("OutboxOldestAge", MetricUnit.Seconds, oldest_seconds)
    telemetry.metrics.flush_metrics()


def _log_orphaned(logger: Logger, orphaned: Mapping[EventKey, RecordError | None]) -> None:
    for (pk, sk), error in orphaned.items():
        if error is not None:
            logger.warning(
                "orphaned fact not published",
                extra={"pk": pk, "sk": sk, "reason": error.reason, "error": str(error)},
            )


def _log_failure(logger: Logger, record: Mapping[str, Any], outcome: RecordOutcome, error: RecordError) -> None:
    """Log why a record failed; of a rejected one also whether it was handed over to the dead-letter queue."""
    event = outcome.event
    handover: dict[str, Any] = {}
    if isinstance(error, Rejected):
        handover["handed_over"] = outcome.handed_over
        if outcome.handover_error is not None:
            handover["handover_error"] = f"{outcome.handover_error.reason}: {outcome.handover_error}"
    logger.warning(
        "record failed",
        extra={
            "message_id": record.get("messageId"),
            "event_id": event and event.id,
            "event_type": event and event.event_type,
            "reason": error.reason,
            "field": error.field,
            "error": str(error),
            **handover,
        },
    )


def _late(logger: Logger, result: BatchResult) -> list[float]:
    """Log the notifications that are due later than they should be, and return the seconds.

    An earlier delivery that was cut off after it had applied the event could not say so: then the one that completes it
    does.
    """
    done = {outcome.event.key for outcome in result.outcomes if outcome.event and outcome.error is None}
    late: list[float] = []
    for event in {appended.event.key: appended.event for appended in result.achieved.appended.values()}.values():
        applied = result.achieved.applied.get(event.key)
        if applied and applied.late is not None and (applied.status == "applied" or event.key in done):
            late.append(applied.late)
            logger.warning(
                "notification late",
                extra={"event_id": event.id, "event_type": event.event_type, "seconds_late": applied.late},
            )
    return late


def _superseded(logger: Logger, records: Sequence[Mapping[str, Any]], result: BatchResult) -> int:
    """Log the events that changed nothing because a later one had decided, and return their number.

    One that an earlier delivery stored counts if that delivery failed; if it failed later than that, its fact waits.
    """
    count = 0
    for number, appended in result.achieved.appended.items():
        event, applied = appended.event, result.achieved.applied.get(appended.event.key)
        if applied is None or applied.status != "superseded" or applied.fact:
            continue
        if appended.is_new or receive_count(records[number]) > 1:
            count += 1
            logger.debug("event superseded", extra={"event_id": event.id, "event_type": event.event_type})
    return count


def _emit_counts(metrics: Metrics, result: BatchResult, superseded: int, late: Sequence[float]) -> None:
    outcomes = result.outcomes
    new = sum(appended.is_new for appended in result.achieved.appended.values())
    counts = {
        "EventsReceived": len(outcomes),
        "EventsStored": new,
        "DuplicateEvents": len(result.achieved.appended) - new,
        "EventsSuperseded": superseded,
        "EventsRejected": sum(isinstance(outcome.error, Rejected) for outcome in outcomes),
        "RecordsFailed": sum(outcome.error is not None and not outcome.handed_over for outcome in outcomes),
        "FactsPublished": len(result.achieved.relayed.published)
        + sum(error is None for error in result.orphaned.values()),
    }
    for name, count in counts.items():
        metrics.add_metric(name, MetricUnit.Count, count)
    if occurred := [outcome.event.occurred_at for outcome in outcomes if outcome.event]:
        age = epoch_seconds(now()) - epoch_seconds(min(occurred))
        metrics.add_metric("OldestEventAge", MetricUnit.Seconds, max(age, 0))
    if late:
        metrics.add_metric("NotificationsLate", MetricUnit.Count, len(late))
        metrics.add_metric("NotificationLateness", MetricUnit.Seconds, max(late))
    metrics.flush_metrics()


def _emit_parts(metrics: Metrics, result: BatchResult) -> None:
    """Emit three of the counts again, by reason or by event type; a batch has few different values."""
    outcomes = result.outcomes
    rejected = [each.error.reason for each in outcomes if isinstance(each.error, Rejected)]
    # Also the backend that a rejected record could not be handed over to.
    failed = [
        (each.handover_error or each.error).reason
        for each in outcomes
        if each.error is not None and not each.handed_over
    ]
    new = [appended.event.event_type for appended in result.achieved.appended.values() if appended.is_new]
    stored = [event_type if event_type in KNOWN_TYPES else "other" for event_type in new]
    for name, dimension, values in (
        ("EventsRejected", "reason", rejected),
        ("RecordsFailed", "reason", failed),
        ("EventsStored", "eventType", stored),
    ):
        for value, count in Counter(values).items():
            with single_metric(name, MetricUnit.Count, count, namespace=metrics.namespace) as metric:
                metric.add_dimension("service", metrics.service)
                metric.add_dimension(dimension, value)
