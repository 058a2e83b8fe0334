import re
from typing import Any

import pytest

from tests.template.conftest import TEMPLATE
from tests.template.resolver import properties, settings


def setting(name: str) -> Any:
    return {"Fn::FindInMap": ["Settings", {"Ref": "Environment"}, name]}


def of_the_database(output: str) -> Any:
    value = {"Fn::GetAtt": ["DatabaseStack", f"Outputs.{output}"]}
    return {"Fn::If": ["UseDatabaseSecret", value, {"Ref": "AWS::NoValue"}]}


def test_failed_records_go_to_a_dead_letter_queue_that_outlives_the_stack(resources: Any) -> None:
    """After a number of tries; both queues keep messages for 14 days."""
    policy = properties(resources, "EventQueue")["RedrivePolicy"]
    assert policy["deadLetterTargetArn"] == {"Fn::GetAtt": ["EventDeadLetterQueue", "Arn"]}
    assert policy["maxReceiveCount"] == setting("MaxReceiveCount")
    assert resources["EventDeadLetterQueue"]["DeletionPolicy"] == "Retain"
    for queue in ("EventQueue", "EventDeadLetterQueue"):
        assert properties(resources, queue)["MessageRetentionPeriod"] == 14 * 24 * 3600
        assert properties(resources, queue)["SqsManagedSseEnabled"] is True


def test_the_queue_hides_a_record_six_times_as_long_as_the_function_may_take(resources: Any) -> None:
    """AWS asks for this: otherwise a record could be delivered again while it is processed."""
    timeout = properties(resources, "EventServiceFunction")["Timeout"]
    assert properties(resources, "EventQueue")["VisibilityTimeout"] >= 6 * timeout


def test_the_event_source_mapping_reports_partial_failures(resources: Any) -> None:
    """Without it one bad record would bring its whole batch back."""
    mapping = properties(resources, "EventServiceFunctionRecords")
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert mapping["EventSourceArn"] == {"Fn::GetAtt": ["EventQueue", "Arn"]}
    assert mapping["BatchSize"] == setting("BatchSize")
    assert mapping["MaximumBatchingWindowInSeconds"] == setting("BatchWindowSeconds")


def test_a_batch_that_waits_and_then_runs_is_done_well_before_its_records_show_again(
    source: Any, resources: Any
) -> None:
    """While the window fills, the records it has wait invisibly: it leaves time for the function and one retry."""
    window = settings(source, "prod")["BatchWindowSeconds"]
    timeout = properties(resources, "EventServiceFunction")["Timeout"]
    assert window + 2 * timeout < properties(resources, "EventQueue")["VisibilityTimeout"]


@pytest.mark.parametrize("environment", ["dev", "prod"])
def test_the_settings_of_a_batch_are_what_lambda_takes(source: Any, environment: str) -> None:
    """Batches above 10 need a window; concurrency is limited to 2 to 1,000."""
    parameters = source["Parameters"]
    assert settings(source, environment)["BatchWindowSeconds"] >= 1
    assert settings(source, environment)["BatchSize"] <= 1000
    assert (parameters["MaximumConcurrency"]["MinValue"], parameters["MaximumConcurrency"]["MaxValue"]) == (2, 1000)


def test_the_event_store_is_what_the_contract_says(resources: Any) -> None:
    """Keys, index, TTL, on demand, restorable, and never deleted with the stack."""
    table = properties(resources, "EventStoreTable")
    assert [(key["AttributeName"], key["KeyType"]) for key in table["KeySchema"]] == [("pk", "HASH"), ("sk", "RANGE")]
    (index,) = table["GlobalSecondaryIndexes"]
    assert index["IndexName"] == "by-user"
    assert [key["AttributeName"] for key in index["KeySchema"]] == ["userId", "sk"]
    assert index["Projection"] == {"ProjectionType": "ALL"}
    assert table["TimeToLiveSpecification"] == {"AttributeName": "expiresAt", "Enabled": True}
    assert table["DeletionProtectionEnabled"] is True
    assert table["BillingMode"] == "PAY_PER_REQUEST"
    assert table["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
    assert resources["EventStoreTable"]["DeletionPolicy"] == "Retain"
    assert resources["EventStoreTable"]["UpdateReplacePolicy"] == "Retain"


def test_the_function_runs_on_the_target_of_the_build(source: Any, resources: Any) -> None:
    """python3.13 on arm64, with the layer; no parameter can choose another."""
    function = properties(resources, "EventServiceFunction")
    assert function["Handler"] == "event_service.handler.lambda_handler"
    assert function["Runtime"] == {"Fn::FindInMap": ["Target", "Package", "Runtime"]}
    assert function["Architectures"] == [{"Fn::FindInMap": ["Target", "Package", "Architecture"]}]
    assert len(function["Layers"]) == 1
    package = source["Mappings"]["Target"]["Package"]
    assert (package["Runtime"], package["Architecture"], package["Makefile"]) == (
        "python3.13",
        "arm64",
        "layers/targets/aws",
    )


@pytest.mark.parametrize("name", ["EventServiceFunction", "OperationsFunction", "SweeperFunction"])
def test_the_functions_join_the_vpc_that_is_created_or_given(resources: Any, name: str) -> None:
    """And none where there is neither."""
    condition, network, otherwise = properties(resources, name)["VpcConfig"]["Fn::If"]
    assert (condition, otherwise) == ("InVpc", {"Ref": "AWS::NoValue"})
    for key in ("SubnetIds", "SecurityGroupIds"):
        assert network[key] == {"Fn::Split": [",", {"Fn::GetAtt": ["DatabaseStack", f"Outputs.{key}"]}]}


def test_the_vpc_has_no_way_to_the_internet(resources: Any) -> None:
    """Neither a gateway nor a route; every endpoint lets through single actions only."""
    types = {resource["Type"] for resource in resources.values()}
    assert not types & {"AWS::EC2::InternetGateway", "AWS::EC2::NatGateway", "AWS::EC2::Route"}
    endpoints = [value["Properties"] for value in resources.values() if value["Type"] == "AWS::EC2::VPCEndpoint"]
    assert len(endpoints) == 4
    for endpoint in endpoints:
        (statement,) = endpoint["PolicyDocument"]["Statement"]
        assert "*" not in statement["Action"]
        assert statement["Resource"] != "*"


def test_the_database_is_private_encrypted_backed_up_and_outlives_the_stack(resources: Any) -> None:
    """The master's password is generated, and unencrypted connections are refused."""
    database = properties(resources, "Database")
    assert database["StorageEncrypted"] is True
    assert database["PubliclyAccessible"] is False
    assert database["ManageMasterUserPassword"] is True
    assert database["BackupRetentionPeriod"] == setting("BackupDays")
    parameters = properties(resources, "DatabaseParameters")["Parameters"]
    assert parameters["rds.force_ssl"] == "1"
    assert parameters["log_error_verbosity"] == "terse"  # an error's details quote rows
    assert resources["Database"]["DeletionPolicy"] == resources["Database"]["UpdateReplacePolicy"] == "Snapshot"


def test_the_schema_is_there_before_the_first_record(resources: Any) -> None:
    """The function, and so its event source mapping, waits for it; a change of the code brings it up to date again."""
    assert resources["EventServiceFunction"]["DependsOn"] in ("DatabaseSchema", ["DatabaseSchema"])
    version = properties(resources, "DatabaseSchema")["CodeVersion"]["Ref"]
    assert resources[version]["Type"] == "AWS::Lambda::Version"
    assert (
        properties(resources, "DatabaseSchema")["ServiceTimeout"]
        > properties(resources, "OperationsFunction")["Timeout"]
    )


@pytest.mark.parametrize(
    "name",
    [
        "EventQueue",
        "EventDeadLetterQueue",
        "EventStoreTable",
        "EventServiceLogGroup",
        "OperationsLogGroup",
        "ReadApiAccessLogGroup",
        "SweeperLogGroup",
    ],
)
def test_what_holds_data_outlives_the_stack(resources: Any, name: str) -> None:
    """It has no fixed name, which would clash with the next stack's."""
    assert resources[name]["DeletionPolicy"] == resources[name]["UpdateReplacePolicy"] == "Retain"
    assert not {"QueueName", "TableName", "LogGroupName"} & set(resources[name].get("Properties", {}))


def test_the_alarm_on_the_duration_goes_off_before_the_function_runs_out_of_time(resources: Any) -> None:
    """At 80 % of its timeout."""
    timeout = properties(resources, "EventServiceFunction")["Timeout"]
    assert properties(resources, "DurationAlarm")["Threshold"] == timeout * 1000 * 0.8


def test_every_action_of_the_workflow_is_pinned_by_hash() -> None:
    """With its version as a comment."""
    workflow = (TEMPLATE.parent / ".github" / "workflows" / "ci.yml").read_text()
    uses = re.findall(r"uses: (.*)", workflow)
    assert uses
    assert all(re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", use) for use in uses)


def test_the_outputs_name_what_others_connect_to(template: Any) -> None:
    """Topics, queues, table, function and log; and what the manual's commands need."""
    assert set(template["Outputs"]) == {
        "DatabaseAddress",
        "DatabaseFunctionSecret",
        "DatabaseIdentifier",
        "DatabaseMasterSecret",
        "DatabaseSchedulerSecret",
        "EventDeadLetterQueueArn",
        "OperationsFunctionName",
        "OperationsLogGroupName",
        "ReadApiAccessLogGroupName",
        "PrivateSubnetIds",
        "VpcId",
        "EventTopicArn",
        "EventQueueUrl",
        "EventQueueArn",
        "EventDeadLetterQueueUrl",
        "NotificationTopicArn",
        "RejectedTopicArn",
        "SweeperFunctionName",
        "SweeperLogGroupName",
        "EventStoreTableName",
        "EventServiceFunctionName",
        "EventServiceFunctionArn",
        "EventServiceLogGroupName",
        "ReadApiUrl",
        "ReadApiFunctionName",
        "ReadApiLogGroupName",
    }


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("EVENT_STORE_TABLE", {"Ref": "EventStoreTable"}),
        ("NOTIFICATION_TOPIC_ARN", {"Ref": "NotificationTopic"}),
        ("EVENT_RETENTION_DAYS", {"Ref": "EventRetentionDays"}),
        ("REJECTED_TOPIC_ARN", {"Ref": "RejectedTopic"}),
        ("POWERTOOLS_SERVICE_NAME", {"Ref": "AWS::StackName"}),
        ("POWERTOOLS_METRICS_NAMESPACE", "EventService"),
        ("POWERTOOLS_LOG_LEVEL", setting("LogLevel")),
        ("DATABASE_URL", {"Fn::If": ["UseDatabaseUrl", {"Ref": "DatabaseUrl"}, {"Ref": "AWS::NoValue"}]}),
        ("DATABASE_SECRET_ARN", of_the_database("SecretArn")),
        ("DATABASE_PORT", of_the_database("Port")),
        ("DATABASE_NAME", of_the_database("Name")),
        ("DATABASE_CERTIFICATES", of_the_database("Certificates")),
    ],
)
def test_the_environment_is_that_of_the_contract(resources: Any, variable: str, value: Any) -> None:
    """Variables without a value are not set."""
    assert properties(resources, "EventServiceFunction")["Environment"]["Variables"][variable] == value


def test_the_log_is_kept_for_a_limited_time(resources: Any) -> None:
    """In a group that the stack made, not in one that Lambda makes without a limit."""
    assert properties(resources, "EventServiceLogGroup")["RetentionInDays"] == setting("LogRetentionDays")
    logging = properties(resources, "EventServiceFunction")["LoggingConfig"]
    assert logging == {"LogGroup": {"Ref": "EventServiceLogGroup"}}


def test_a_dead_letter_raises_the_alarm(resources: Any) -> None:
    """One is enough."""
    alarm = properties(resources, "DeadLetterAlarm")
    assert alarm["MetricName"] == "ApproximateNumberOfMessagesVisible"
    assert alarm["Dimensions"] == [{"Name": "QueueName", "Value": {"Ref": "DeadLetterQueueName"}}]
    assert (alarm["ComparisonOperator"], alarm["Threshold"]) == ("GreaterThanThreshold", 0)
    queue = {"Fn::GetAtt": ["EventDeadLetterQueue", "QueueName"]}
    assert properties(resources, "MonitoringStack")["Parameters"]["DeadLetterQueueName"] == queue


def test_every_parameter_is_described_and_belongs_to_a_group(source: Any) -> None:
    """So that the console shows a form one can fill in."""
    groups = source["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    assert sorted(name for group in groups for name in group["Parameters"]) == sorted(source["Parameters"])
    assert all(parameter["Description"] for parameter in source["Parameters"].values())


def test_a_guided_deployment_asks_at_most_twelve_questions(source: Any) -> None:
    """SAM asks for every parameter, and each has a default."""
    assert len(source["Parameters"]) <= 12
    assert all("Default" in parameter for parameter in source["Parameters"].values())


def test_a_guided_deployment_gets_past_every_parameter(source: Any) -> None:
    """SAM asks for a hidden one without offering its default, and takes no empty answer."""
    assert not [name for name, parameter in source["Parameters"].items() if parameter.get("NoEcho")]


def test_a_deployment_that_failed_can_be_tried_again(resources: Any) -> None:
    """A version that outlived its rollback would block one of the same code."""
    versions = [each for each in resources.values() if each["Type"] == "AWS::Lambda::Version"]
    assert len(versions) == 3
    assert all(version["DeletionPolicy"] == "Delete" for version in versions)
