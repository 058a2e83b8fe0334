"""The settings that decide whether a reminder arrives on time agree with each other."""

from typing import Any

import pytest

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


def test_good_events_sit_out_an_outage_of_five_hours(source: Any, queue: Any) -> None:
    """Before they are dead-lettered."""
    deliveries = source["Parameters"]["MaxReceiveCount"]["Default"]
    assert deliveries * queue["VisibilityTimeout"] == 5 * 3600
    assert deliveries <= source["Parameters"]["MaxReceiveCount"]["MaxValue"] <= 1000


def test_an_outage_is_over_before_the_queue_forgets_an_event(source: Any, queue: Any) -> None:
    """Also with the largest number of deliveries."""
    most = source["Parameters"]["MaxReceiveCount"]["MaxValue"]
    assert most * queue["VisibilityTimeout"] < queue["MessageRetentionPeriod"]


def test_the_largest_batch_takes_less_than_half_the_timeout(source: Any, function: Any) -> None:
    assert function["MemorySize"] == 512
    largest = source["Parameters"]["BatchSize"]["MaxValue"]
    seconds = largest * CPU_MS_PER_EVENT / 1000 / PROCESSORS_AT_512_MB + WAITING_SECONDS
    assert seconds < function["Timeout"] / 2


def test_a_batch_does_not_wait_long_to_fill(source: Any, function: Any, queue: Any) -> None:
    """A reminder at the last moment waits with it, and its records are hidden meanwhile."""
    window = source["Parameters"]["BatchWindowSeconds"]
    assert (window["Default"], window["MaxValue"]) == (1, 5)
    assert window["MaxValue"] + 2 * function["Timeout"] < queue["VisibilityTimeout"]


def test_one_late_notification_raises_the_alarm(resources: Any, function: Any) -> None:
    """On the metric as the function writes it."""
    alarm = resources["NotificationsLateAlarm"]["Properties"]
    variables = function["Environment"]["Variables"]
    assert (alarm["Namespace"], alarm["MetricName"]) == (
        variables["POWERTOOLS_METRICS_NAMESPACE"],
        "NotificationsLate",
    )
    assert alarm["Dimensions"] == [{"Name": "service", "Value": variables["POWERTOOLS_SERVICE_NAME"]}]
    assert (alarm["Statistic"], alarm["ComparisonOperator"], alarm["Threshold"]) == ("Sum", "GreaterThanThreshold", 0)
    assert alarm["Period"] == 60
    assert alarm["TreatMissingData"] == "notBreaching"
