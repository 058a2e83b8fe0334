"""The settings that decide whether a reminder arrives on time agree with each other."""

from typing import Any

import pytest

from tests.template.resolver import settings

ENVIRONMENTS = pytest.mark.parametrize("environment", ["dev", "prod"])

# Measured: 0.4 ms of CPU per event in a full batch (docs/reliability.md). Lambda's processor may be half as fast.
CPU_MS_PER_EVENT = 1.0
PROCESSORS_AT_512_MB = 512 / 1769  # https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html
WAITING_SECONDS = 1.0  # for the backends, in a full batch


@pytest.fixture
def function(resources: Any) -> Any:
    return resources["EventServiceFunction"]["Properties"]


@pytest.fixture
def queue(resources: Any) -> Any:
    return resources["EventQueue"]["Properties"]


def test_a_record_whose_worker_was_killed_comes_back_after_a_minute(function: Any, queue: Any) -> None:
    assert (function["Timeout"], queue["VisibilityTimeout"]) == (10, 60)


@ENVIRONMENTS
def test_good_events_sit_out_an_outage_of_five_hours(source: Any, queue: Any, environment: str) -> None:
    """Before they are dead-lettered, and before the queue forgets them."""
    deliveries = settings(source, environment)["MaxReceiveCount"]
    assert deliveries * queue["VisibilityTimeout"] == 5 * 3600
    assert deliveries <= 1000  # what SQS takes
    assert queue["MessageRetentionPeriod"] > 5 * 3600


@ENVIRONMENTS
def test_a_batch_takes_less_than_half_the_timeout(source: Any, function: Any, environment: str) -> None:
    """Even ten times as large a one."""
    assert function["MemorySize"] == 512
    largest = 10 * settings(source, environment)["BatchSize"]
    seconds = largest * CPU_MS_PER_EVENT / 1000 / PROCESSORS_AT_512_MB + WAITING_SECONDS
    assert seconds < function["Timeout"] / 2


@ENVIRONMENTS
def test_a_batch_does_not_wait_long_to_fill(source: Any, function: Any, queue: Any, environment: str) -> None:
    """A reminder at the last moment waits with it, and its records are hidden meanwhile."""
    window = settings(source, environment)["BatchWindowSeconds"]
    assert window == 1
    assert window + 2 * function["Timeout"] < queue["VisibilityTimeout"]


def test_one_late_notification_raises_the_alarm(resources: Any, function: Any) -> None:
    """On the metric as the function writes it."""
    alarm = resources["NotificationsLateAlarm"]["Properties"]
    variables = function["Environment"]["Variables"]
    assert (alarm["Namespace"], alarm["MetricName"]) == (
        variables["POWERTOOLS_METRICS_NAMESPACE"],
        "NotificationsLate",
    )
    assert alarm["Dimensions"] == [{"Name": "service", "Value": {"Ref": "ServiceName"}}]
    assert (
        variables["POWERTOOLS_SERVICE_NAME"] == resources["MonitoringStack"]["Properties"]["Parameters"]["ServiceName"]
    )
    assert (alarm["Statistic"], alarm["ComparisonOperator"], alarm["Threshold"]) == ("Sum", "GreaterThanThreshold", 0)
    assert alarm["Period"] == 60
    assert alarm["TreatMissingData"] == "notBreaching"
