"""The Lambda function behind the event queue: the one place where its parts are wired together."""

import gc

gc.disable()  # until everything is loaded: collecting in between would take an eighth of a cold start

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Final

import botocore.session
from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType
from aws_lambda_powertools.utilities.batch.base import FailureResponse, SuccessResponse

from event_service.adapters.aws import MAX_CONCURRENT_REQUESTS, make_client, make_transport
from event_service.adapters.data_plane import DynamoDb, Sns
from event_service.adapters.event_store import EventStore
from event_service.adapters.notifications import Notifications
from event_service.adapters.postgres import Database
from event_service.adapters.topics import RejectedTopic, Topic
from event_service.config import Settings
from event_service.deadline import Deadline
from event_service.errors import RecordError, internal_error
from event_service.pipeline import Backends, BatchResult, RecordOutcome, process
from event_service.steps.relay import Relay
from event_service.telemetry import Telemetry, make_telemetry, report

# Kept back from the invocation's time for the response.
_RESPONSE_SECONDS: Final = 0.5
_SECONDS_WITHOUT_CONTEXT: Final = 10.0


@dataclass(frozen=True, slots=True)
class Service:
    """The parts, made once for an execution environment."""

    backends: Backends
    telemetry: Telemetry


@lru_cache(maxsize=1)
def build(settings: Settings) -> Service:
    """Wire the parts together, without reaching any network."""
    session = botocore.session.get_session()
    pool = ThreadPoolExecutor(MAX_CONCURRENT_REQUESTS, thread_name_prefix="request")
    sns = Sns(make_transport(session, "sns"))
    relay = Relay(
        event_store=EventStore(
            DynamoDb(make_transport(session, "dynamodb")),
            settings.event_store_table,
            pool,
            settings.event_retention_days,
        ),
        notifications=Notifications(Database(settings.database, partial(make_client, session, "secretsmanager"), pool)),
        topic=Topic(sns, settings.notification_topic_arn, pool),
        background=ThreadPoolExecutor(1, thread_name_prefix="publish"),
    )
    rejected_topic = None
    if arn := settings.rejected_topic_arn:
        rejected_topic = RejectedTopic(sns, arn, pool, ThreadPoolExecutor(1, thread_name_prefix="reject"))
    return Service(Backends(relay, rejected_topic), make_telemetry(settings.service_name, settings.metrics_namespace))


class PipelineProcessor(BatchProcessor):
    """Runs the pipeline once for the whole batch, and then reports each record's outcome.

    A custom processor as Powertools documents it:
    https://docs.aws.amazon.com/powertools/python/latest/utilities/batch/#create-your-own-partial-processor
    """

    def __init__(self, run: Callable[[list[dict[str, Any]]], BatchResult]) -> None:
        # A batch whose records all failed is an ordinary response, not an error of the function.
        super().__init__(EventType.SQS, raise_on_entire_batch_failure=False)
        self._run = run

    def _prepare(self) -> None:
        super()._prepare()  # type: ignore[no-untyped-call]
        self._outcomes = iter(self._run(self.records).outcomes)

    def _process_record(self, record: dict[str, Any]) -> SuccessResponse | FailureResponse:
        data = self._to_batch_type(record, self.event_type)
        outcome = next(self._outcomes)
        error = outcome.error
        if error is None or outcome.handed_over:
            return self.success_handler(record=data, result=None)
        return self.failure_handler(record=data, exception=(type(error), error, error.__traceback__))


def lambda_handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Process a batch of SQS records and respond with those that failed.

    https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html#services-sqs-batchfailurereporting

    Raises:
        ConfigurationError: an environment variable is missing or wrong.

    """
    service = build(Settings.from_environment(os.environ))
    deadline = deadline_of(context)

    def run(records: list[dict[str, Any]]) -> BatchResult:
        try:
            result = process(records, service.backends, deadline)
        except Exception as exc:  # noqa: BLE001  # without a response, every record would fail without its reason
            error: RecordError = internal_error(exc)
            result = BatchResult([RecordOutcome(None, error) for _ in records])
        report(service.telemetry, records, result)
        return result

    processor = PipelineProcessor(run)
    with processor(records=event["Records"], handler=run):
        processor.process()
    return dict(processor.response())


def deadline_of(context: Any) -> Deadline:
    """Return the end of the invocation's time, less what the response takes."""
    if not hasattr(context, "get_remaining_time_in_millis"):
        return Deadline.after(_SECONDS_WITHOUT_CONTEXT - _RESPONSE_SECONDS)
    return Deadline.after(context.get_remaining_time_in_millis() / 1000 - _RESPONSE_SECONDS)


if "AWS_LAMBDA_RUNTIME_API" in os.environ:
    # Under the Lambda runtime, in the init phase instead of in the first invocation.
    build(Settings.from_environment(os.environ))
gc.freeze()  # what is loaded now stays: the collector need not visit it again
gc.enable()
