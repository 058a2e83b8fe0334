"""The operator's view: alarms, the dashboard, the path of dead letters; the code emits what they name."""

import contextlib
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest

from event_service import telemetry
from event_service.adapters.event_store import Appended
from event_service.adapters.notifications import Applied
from event_service.domain.event import KNOWN_TYPES, Event
from event_service.errors import Backend, Rejected, RejectionReason, Unavailable
from event_service.pipeline import Achieved, BatchResult, RecordOutcome
from event_service.steps.relay import Relayed
from tests.template.conftest import TEMPLATE
from tests.template.resolver import managed_policies, settings

OPERATIONS = (TEMPLATE.parent / "docs" / "operations.md").read_text()
NAMESPACE = "EventService"
SERVICE = "${ServiceName}"  # the name of the service's stack
TOPIC = {"Fn::If": ["CreateAlarmTopic", {"Ref": "AlarmTopic"}, {"Ref": "AlarmTopicArn"}]}
Metric = tuple[str, frozenset[str]]


def properties(resources: Any, name: str) -> Any:
    return resources[name]["Properties"]


def alarms(resources: Any) -> dict[str, Any]:
    return {
        name: resource["Properties"]
        for name, resource in resources.items()
        if resource["Type"] == "AWS::CloudWatch::Alarm"
    }


def event(event_type: str) -> Event:
    return Event(event_type, "2026-11-23T06:00:00.000000Z", event_type, "x", "i", "u", None, None, "{}")  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def emitted() -> dict[Metric, list[dict[str, str]]]:
    """Every metric that the code emits, by name and names of its dimensions, and their values."""
    events = [event(each) for each in (*KNOWN_TYPES, "note:added")]
    achieved = Achieved(
        appended={number: Appended(each, is_new=True) for number, each in enumerate(events)},
        applied={each.key: Applied("superseded", 90.0, None) for each in events},
        relayed=Relayed(),
    )
    errors = [
        *(RecordOutcome(None, Rejected(reason, "x"), handed_over=True) for reason in get_args(RejectionReason)),
        *(RecordOutcome(None, Unavailable(reason, "x")) for reason in (*get_args(Backend), "deadline", "internal")),
    ]
    outcomes = [*(RecordOutcome(each, None) for each in events), *errors]
    made = telemetry.make_telemetry("stack", NAMESPACE)
    log = io.StringIO()
    with contextlib.redirect_stdout(log):
        telemetry.report(made, [{"messageId": "m"}] * len(outcomes), BatchResult(outcomes, achieved))
        telemetry.report_sweep(made, {}, 3, 1000.0)
    found: dict[Metric, list[dict[str, str]]] = {}
    for line in map(json.loads, log.getvalue().splitlines()):
        for directive in line.get("_aws", {}).get("CloudWatchMetrics", []):
            assert directive["Namespace"] == NAMESPACE
            for dimensions in directive["Dimensions"]:
                for metric in directive["Metrics"]:
                    key = metric["Name"], frozenset(dimensions)
                    found.setdefault(key, []).append({name: line[name] for name in dimensions})
    return found


def on_dashboard(resources: Any) -> Iterator[tuple[str, dict[str, str | None]]]:
    """Our metrics on the dashboard, with their dimensions; of a search, a dimension's value may be open."""
    for widget in json.loads(properties(resources, "Dashboard")["DashboardBody"]["Fn::Sub"])["widgets"]:
        for metric in widget["properties"]["metrics"]:
            if metric[0] == NAMESPACE:
                names = [part for part in metric[2:] if isinstance(part, str)]
                yield metric[1], dict(zip(names[::2], names[1::2], strict=True))
            elif isinstance(metric[0], dict):
                search = re.search(
                    r"SEARCH\('\{EventService,([\w,]+)\} MetricName=\"(\w+)\" service=\"([^\"]+)\"'",
                    metric[0]["expression"],
                )
                assert search is not None, metric
                dimensions: dict[str, str | None] = dict.fromkeys(search[1].split(","))
                yield search[2], dimensions | {"service": search[3]}


def test_the_code_emits_every_metric_on_the_dashboard(resources: Any, emitted: dict[Metric, Any]) -> None:
    """With its dimensions, and of this stack alone."""
    shown = [*on_dashboard(resources)]
    assert shown
    for name, dimensions in shown:
        assert (name, frozenset(dimensions)) in emitted
        assert dimensions["service"] == SERVICE


def test_the_code_emits_every_metric_of_an_alarm(resources: Any, emitted: dict[Metric, Any]) -> None:
    """With its dimensions and their values; an alarm that waits for another would never go off."""
    ours = [alarm for alarm in alarms(resources).values() if alarm.get("Namespace") == NAMESPACE]
    assert ours
    for alarm in ours:
        dimensions = {each["Name"]: each["Value"] for each in alarm["Dimensions"]}
        assert dimensions.pop("service") in ({"Ref": "AWS::StackName"}, {"Ref": "ServiceName"})
        values = emitted[alarm["MetricName"], frozenset({"service", *dimensions})]
        assert any(dimensions.items() <= each.items() for each in values), alarm


def test_every_metric_is_on_the_dashboard_or_explained(resources: Any, emitted: dict[Metric, Any]) -> None:
    """Every emitted metric is on the dashboard or in docs/operations.md."""
    shown = {(name, frozenset(dimensions)) for name, dimensions in on_dashboard(resources)}
    assert [each for each in emitted if each not in shown and f"`{each[0]}`" not in OPERATIONS] == []


def test_no_other_module_emits_metrics() -> None:
    """The tests above see all of them."""
    package = Path(telemetry.__file__).parent
    emitting = [file.name for file in package.rglob("*.py") if re.search(r"add_metric|single_metric", file.read_text())]
    assert emitting == ["telemetry.py"]


def test_the_functions_name_their_metrics_after_the_stack(resources: Any) -> None:
    """Two stacks in one account do not mix."""
    assert resources["MonitoringStack"]["Properties"]["Parameters"]["ServiceName"] == {"Ref": "AWS::StackName"}
    for name in ("EventServiceFunction", "SweeperFunction"):
        variables = properties(resources, name)["Environment"]["Variables"]
        assert variables["POWERTOOLS_SERVICE_NAME"] == {"Ref": "AWS::StackName"}
        assert variables["POWERTOOLS_METRICS_NAMESPACE"] == NAMESPACE


def test_every_alarm_has_a_page_in_the_manual(resources: Any) -> None:
    """A section with its name, and what to do."""
    titles = {name for title in re.findall(r"^### (.*)$", OPERATIONS, re.MULTILINE) for name in title.split(", ")}
    assert alarms(resources).keys() - titles == set()


def test_every_alarm_reaches_the_operator(resources: Any) -> None:
    """Both when it goes off and when it is over."""
    for alarm in alarms(resources).values():
        (action,) = alarm["AlarmActions"]
        assert action in (TOPIC, {"Ref": "AlarmTopicArn"})
        assert alarm["OKActions"] == alarm["AlarmActions"]
    assert properties(resources, "MonitoringStack")["Parameters"]["AlarmTopicArn"] == TOPIC


@pytest.mark.parametrize("backend", get_args(Backend))
def test_an_alarm_names_the_backend_that_is_down(resources: Any, backend: str) -> None:
    """One for each backend; a failure that heals within a minute raises none."""
    (alarm,) = (
        alarm
        for alarm in alarms(resources).values()
        if {"Name": "reason", "Value": backend} in alarm.get("Dimensions", [])
    )
    assert alarm["MetricName"] == "RecordsFailed"
    assert (alarm["Period"], alarm["DatapointsToAlarm"], alarm["Threshold"]) == (60, 3, 0)


@pytest.mark.parametrize(
    ("name", "metric", "dimension"),
    [
        ("FactDeliveryAlarm", "NumberOfNotificationsFailed", "TopicName"),
        ("EventDeliveryAlarm", "NumberOfNotificationsFailed", "TopicName"),
        ("RejectionDeliveryAlarm", "NumberOfNotificationsFailed", "TopicName"),
        ("RecursionAlarm", "RecursiveInvocationsDropped", "FunctionName"),
        ("SweeperErrorsAlarm", "Errors", "FunctionName"),
        ("FactsWaitAlarm", "OutboxOldestAge", "service"),
        ("RejectedEventsAlarm", "EventsRejected", "service"),
    ],
)
def test_what_has_to_wake_somebody_does(resources: Any, name: str, metric: str, dimension: str) -> None:
    """An alarm for each, on the metric that says so."""
    alarm = properties(resources, name)
    assert alarm["MetricName"] == metric
    assert [each["Name"] for each in alarm["Dimensions"]] == [dimension]


def test_rejected_records_reach_the_dead_letter_queue(resources: Any) -> None:
    """Raw, through an encrypted topic, which alone may send to it."""
    subscription = properties(resources, "RejectedSubscription")
    assert subscription == {
        "TopicArn": {"Ref": "RejectedTopic"},
        "Protocol": "sqs",
        "Endpoint": {"Fn::GetAtt": ["EventDeadLetterQueue", "Arn"]},
        "RawMessageDelivery": True,
    }
    assert properties(resources, "RejectedTopic")["KmsMasterKeyId"] == {"Ref": "TopicKey"}
    statements = properties(resources, "EventDeadLetterQueuePolicy")["PolicyDocument"]["Statement"]
    allow, _undelivered, *denials = statements
    assert (allow["Effect"], allow["Action"]) == ("Allow", "sqs:SendMessage")
    assert allow["Principal"] == {"Service": "sns.amazonaws.com"}
    assert allow["Condition"] == {"ArnEquals": {"aws:SourceArn": {"Ref": "RejectedTopic"}}}
    assert {denial["Effect"] for denial in denials} == {"Deny"}
    variables = properties(resources, "EventServiceFunction")["Environment"]["Variables"]
    assert variables["REJECTED_TOPIC_ARN"] == {"Ref": "RejectedTopic"}


def test_the_rejected_topic_is_closed_to_others(resources: Any) -> None:
    """Only this account publishes and subscribes, and only over TLS."""
    allow, clear, foreign = properties(resources, "RejectedTopicPolicy")["PolicyDocument"]["Statement"]
    assert allow["Principal"]["AWS"]["Fn::Sub"].endswith(":iam::${AWS::AccountId}:root")
    assert clear["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    assert foreign["Condition"]["StringNotEquals"] == {"aws:PrincipalAccount": {"Ref": "AWS::AccountId"}}
    assert {each["Resource"]["Ref"] for each in (allow, clear, foreign)} == {"RejectedTopic"}


def test_the_rejected_topic_is_reached_through_the_endpoint_that_exists(resources: Any) -> None:
    """The VPC has one for SNS and none for SQS."""
    (statement,) = properties(resources, "SnsEndpoint")["PolicyDocument"]["Statement"]
    assert statement["Action"] == "sns:Publish"
    assert statement["Resource"] == [{"Ref": "NotificationTopicArn"}, {"Ref": "RejectedTopicArn"}]
    services = [
        each["Properties"]["ServiceName"]["Fn::Sub"].rpartition(".")[2]
        for each in resources.values()
        if each["Type"] == "AWS::EC2::VPCEndpoint"
    ]
    assert sorted(services) == ["dynamodb", "s3", "secretsmanager", "sns"]


def test_an_outage_of_hours_makes_no_dead_letters(source: Any, resources: Any) -> None:
    """A good event comes back every minute for five hours."""
    seconds = settings(source, "prod")["MaxReceiveCount"] * properties(resources, "EventQueue")["VisibilityTimeout"]
    assert seconds >= 5 * 3600
    assert seconds < properties(resources, "EventQueue")["MessageRetentionPeriod"]


def test_the_sweeper_runs_every_five_minutes(resources: Any) -> None:
    """In the VPC, after the migrations; an invocation that fails is not repeated by Lambda."""
    (rule,) = (each["Properties"] for each in resources.values() if each["Type"] == "AWS::Events::Rule")
    assert rule["ScheduleExpression"] == "rate(5 minutes)"
    assert rule["Targets"][0]["Arn"] == {"Fn::GetAtt": ["SweeperFunction", "Arn"]}
    sweeper = properties(resources, "SweeperFunction")
    assert sweeper["Handler"] == "event_service.sweeper.lambda_handler"
    assert sweeper["Timeout"] < 300
    assert sweeper["VpcConfig"]["Fn::If"][0] == "InVpc"
    assert resources["SweeperFunction"]["DependsOn"] in ("DatabaseSchema", ["DatabaseSchema"])
    (retries,) = (each["Properties"] for each in resources.values() if each["Type"] == "AWS::Lambda::EventInvokeConfig")
    assert retries["MaximumRetryAttempts"] == 0


def test_the_sweeper_may_publish_facts_and_no_more(resources: Any) -> None:
    """It neither reads the queue nor reaches the rejected topic."""
    (policy,) = properties(resources, "SweeperRole")["Policies"]
    always = policy["PolicyDocument"]["Statement"]
    assert {each["Sid"]: (each["Action"], each["Resource"]) for each in always} == {
        "AppendFactsToTheEventStore": (
            ["dynamodb:PartiQLInsert", "dynamodb:BatchGetItem"],
            {"Fn::GetAtt": ["EventStoreTable", "Arn"]},
        ),
        "PublishFacts": ("sns:Publish", {"Ref": "NotificationTopic"}),
        "WriteTheLog": (["logs:CreateLogStream", "logs:PutLogEvents"], {"Fn::GetAtt": ["SweeperLogGroup", "Arn"]}),
        "Trace": (["xray:PutTraceSegments", "xray:PutTelemetryRecords"], "*"),
    }
    assert properties(resources, "SweeperRole")["ManagedPolicyArns"] == managed_policies("FunctionAccess")


def test_the_event_source_mapping_counts_its_records(resources: Any) -> None:
    """Lambda's own counts of what it polled, invoked, failed and deleted."""
    assert properties(resources, "EventServiceFunctionRecords")["MetricsConfig"] == {"Metrics": ["EventCount"]}
