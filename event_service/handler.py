"""The Lambda function: the only place where the parts are wired together."""

import gc
import logging
import os
import sys
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Final, TextIO

import botocore.session
from aws_lambda_powertools import Logger, Metrics, single_metric
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response

from event_service import pipeline
from event_service.adapters.aws import MAX_CONCURRENT_REQUESTS, make_client, make_transport
from event_service.adapters.data_plane import DynamoDb, Sns
from event_service.adapters.event_store import EventStore
from event_service.adapters.notifications import Notifications
from event_service.adapters.postgres import Database
from event_service.adapters.topic import Publisher
from event_service.codec.instants import epoch_seconds, now
from event_service.config import Settings
from event_service.deadline import Deadline
from event_service.domain.event import Event
from event_service.errors import RecordError, Rejected, internal_error

# What is kept back of an invocation's time to answer in.
_ANSWER_SECONDS: Final = 1.0
_SECONDS_WITHOUT_CONTEXT: Final = 30.0


class _StandardOutput(logging.StreamHandler[TextIO]):
    """Writes to what is standard output at that moment: tests exchange it while the built service is kept."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        return sys.stdout


@dataclass(frozen=True, slots=True)
class Service:
    """The parts, made once for an execution environment."""

    stages: pipeline.Stages
    logger: Logger
    metrics: Metrics
    metrics_namespace: str


@lru_cache(maxsize=1)
def build(settings: Settings) -> Service:
    """Wire the parts together; reaches no network."""
    session = botocore.session.get_session()
    pool = ThreadPoolExecutor(MAX_CONCURRENT_REQUESTS, thread_name_prefix="request")
    return Service(
        stages=pipeline.Stages(
            event_store=EventStore(
                DynamoDb(make_transport(session, "dynamodb")),
                settings.event_store_table,
                pool,
                settings.event_retention_days,
            ),
            notifications=Notifications(
                Database(settings.database, partial(make_client, session, "secretsmanager"), pool)
            ),
            publisher=Publisher(Sns(make_transport(session, "sns")), settings.notification_topic_arn, pool),
            background=ThreadPoolExecutor(1, thread_name_prefix="publish"),
        ),
        logger=Logger(service=settings.service_name, logger_handler=_StandardOutput()),
        metrics=Metrics(service=settings.service_name, namespace=settings.metrics_namespace),
        metrics_namespace=settings.metrics_namespace,
    )


def lambda_handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Handle a batch of SQS records; answer with those that did not get all the way through.

    https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html#services-sqs-batchfailurereporting

    Raises:
        ConfigurationError: an environment variable is missing or wrong.

    """
    service = build(Settings.from_environment(os.environ))
    records = event["Records"]
    if not records:  # Lambda sends no such batch, but a test invocation may; Powertools would raise
        return {"batchItemFailures": []}
    try:
        report = pipeline.process(records, service.stages, _deadline(context))
    except Exception as exc:  # noqa: BLE001  # whatever it is: unanswered, it would be every record's failure
        report = pipeline.Report([pipeline.Entry(error=internal_error(exc)) for _ in records])
    for record, entry in zip(records, report.entries, strict=True):
        if entry.error is not None:
            _log_failure(service.logger, record, entry.event, entry.error)
    _log_left_behind(service.logger, report)
    _count(service, report)
    return _answer(event, [entry.error for entry in report.entries])


def _deadline(context: Any) -> Deadline:
    """Return the end of the invocation's time, less what the answer takes."""
    if not hasattr(context, "get_remaining_time_in_millis"):
        return Deadline.after(_SECONDS_WITHOUT_CONTEXT - _ANSWER_SECONDS)
    return Deadline.after(context.get_remaining_time_in_millis() / 1000 - _ANSWER_SECONDS)


def _answer(event: dict[str, Any], errors: list[RecordError | None]) -> dict[str, Any]:
    outcomes = iter(errors)

    def raise_error(record: Any) -> None:  # noqa: ARG001  # Powertools passes it by this name
        if (error := next(outcomes)) is not None:
            raise error

    # A batch whose records all failed is an ordinary answer, not an error of the function.
    processor = BatchProcessor(event_type=EventType.SQS, raise_on_entire_batch_failure=False)
    return dict(process_partial_response(event, raise_error, processor))


def _log_failure(logger: Logger, record: Mapping[str, Any], event: Event | None, error: RecordError) -> None:
    """Write the one line of a failed record: ids and reason, nothing that is in the event."""
    logger.warning(
        "record failed",
        extra={
            "message_id": record.get("messageId"),
            "event_id": event and event.id,
            "event_type": event and event.event_type,
            "reason": error.reason,
            "field": error.field,
            "error": str(error),
        },
    )


def _log_left_behind(logger: Logger, report: pipeline.Report) -> None:
    for (pk, sk), error in report.left_behind.items():
        if error is not None:
            logger.warning(
                "fact left behind again",
                extra={"pk": pk, "sk": sk, "reason": error.reason, "error": str(error)},
            )


def _count(service: Service, report: pipeline.Report) -> None:
    """Write the metrics of a batch in CloudWatch's embedded format."""
    entries, metrics = report.entries, service.metrics
    counts = {
        "EventsReceived": len(entries),
        "EventsStored": report.stored,
        "DuplicateEvents": report.duplicates,
        "RecordsFailed": sum(entry.error is not None for entry in entries),
        "FactsPublished": report.published + sum(error is None for error in report.left_behind.values()),
    }
    for name, count in counts.items():
        metrics.add_metric(name, MetricUnit.Count, count)
    if occurred := [entry.event.occurred_at for entry in entries if entry.event]:
        age = epoch_seconds(now()) - epoch_seconds(min(occurred))
        metrics.add_metric("OldestEventAge", MetricUnit.Seconds, max(age, 0))
    metrics.flush_metrics()
    rejected = Counter(entry.error.reason for entry in entries if isinstance(entry.error, Rejected))
    for reason, count in rejected.items():
        with single_metric("EventsRejected", MetricUnit.Count, count, namespace=service.metrics_namespace) as metric:
            metric.add_dimension("service", metrics.service)
            metric.add_dimension("reason", reason)


if "AWS_LAMBDA_RUNTIME_API" in os.environ:
    # Under the Lambda runtime: now, in the init phase, rather than in the first invocation.
    build(Settings.from_environment(os.environ))
    gc.freeze()  # what is loaded now stays: the collector need not go through it again and again
