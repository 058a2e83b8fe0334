"""An update changes little at first, and is rolled back by the alarms that concern it."""

from typing import Any

import pytest

from tests.template.conftest import transformed_template
from tests.template.resolver import deployed, properties

FUNCTIONS = ("EventServiceFunction", "ReadApiFunction")


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize(
    ("environment", "configuration"), [("dev", "LambdaAllAtOnce"), ("prod", "LambdaCanary10Percent10Minutes")]
)
def test_an_update_moves_the_alias_little_by_little(function: str, environment: str, configuration: str) -> None:
    """CodeDeploy does; in production a tenth of the batches goes to the new version for ten minutes."""
    resources = transformed_template({"Environment": environment})["Resources"]
    alias = resources[f"{function}Aliaslive"]
    policy = alias["UpdatePolicy"]["CodeDeployLambdaAliasUpdate"]
    assert policy["DeploymentGroupName"] == {"Ref": f"{function}DeploymentGroup"}
    group = properties(resources, f"{function}DeploymentGroup")
    assert group["DeploymentConfigName"] == f"CodeDeployDefault.{configuration}"
    assert group["AutoRollbackConfiguration"]["Enabled"] is True
    assert "DEPLOYMENT_STOP_ON_ALARM" in group["AutoRollbackConfiguration"]["Events"]


@pytest.mark.parametrize(
    ("function", "alarms"),
    [
        ("EventServiceFunction", ["NewVersionErrorsAlarm", "InternalErrorsAlarm", "RejectedEventsAlarm"]),
        ("ReadApiFunction", ["NewReadApiErrorsAlarm"]),
    ],
)
def test_alarms_roll_an_update_back(resources: Any, function: str, alarms: list[str]) -> None:
    """Those that tell of the code; an outage of a backend rolls nothing back."""
    configuration = properties(resources, f"{function}DeploymentGroup")["AlarmConfiguration"]
    assert configuration == {"Enabled": True, "Alarms": [{"Name": {"Ref": name}} for name in alarms]}


@pytest.mark.parametrize(
    ("function", "alarm"),
    [("EventServiceFunction", "NewVersionErrorsAlarm"), ("ReadApiFunction", "NewReadApiErrorsAlarm")],
)
def test_one_error_of_the_new_version_is_enough(resources: Any, function: str, alarm: str) -> None:
    """Its own errors, within a minute: the previous version's do not count."""
    properties_of = properties(resources, alarm)
    dimensions = {each["Name"]: each["Value"] for each in properties_of["Dimensions"]}
    version = resources[f"{function}Aliaslive"]["Properties"]["FunctionVersion"]["Fn::GetAtt"]
    assert dimensions == {
        "FunctionName": {"Ref": function},
        "Resource": {"Fn::Sub": f"${{{function}}}:live"},
        "ExecutedVersion": {"Fn::GetAtt": version},
    }
    assert (properties_of["Period"], properties_of["EvaluationPeriods"], properties_of["Threshold"]) == (60, 1, 0)


def test_records_and_requests_go_to_the_version_that_the_alias_names(resources: Any) -> None:
    """Not to the newest code, which the alias may not have reached."""
    alias = {"Ref": "EventServiceFunctionAliaslive"}
    assert properties(resources, "EventServiceFunctionRecords")["FunctionName"] == alias
    paths = properties(resources, "ReadApi")["Body"]["paths"]
    integrations = [
        method["x-amazon-apigateway-integration"]["uri"]["Fn::Sub"]
        for path in paths.values()
        for method in path.values()
    ]
    assert integrations
    assert all("${ReadApiFunctionAliaslive}" in each for each in integrations)


@pytest.mark.parametrize(
    ("function", "given"),
    [
        ("EventServiceFunction", {"EventRetentionDays": "30"}),
        ("EventServiceFunction", {"Environment": "prod"}),
        ("EventServiceFunction", {"ExistingDatabase": "ours"}),
        ("OperationsFunction", {"EventRetentionDays": "30"}),
        ("OperationsFunction", {"ExistingDatabase": "ours"}),
        ("ReadApiFunction", {"Environment": "prod"}),
    ],
    ids=str,
)
def test_a_changed_parameter_reaches_the_alias(function: str, given: dict[str, str]) -> None:
    """SAM does not see values that CloudFormation fills in, but a version with another description is a new one."""
    before, after = (properties(deployed(each)["Resources"], function) for each in ({}, given))
    assert before["Environment"] != after["Environment"]
    assert before["VersionDescription"] != after["VersionDescription"]


@pytest.mark.parametrize("function", [*FUNCTIONS, "OperationsFunction"])
def test_a_changed_layer_reaches_the_alias(function: str) -> None:
    """Its packages may be all that changed."""
    versions = {
        transformed_template({}, DependenciesLayer={"ContentUri": f"s3://bucket/{key}"})["Resources"][
            f"{function}Aliaslive"
        ]["Properties"]["FunctionVersion"]["Fn::GetAtt"][0]
        for key in ("before", "after")
    }
    assert len(versions) == 2


def test_a_loop_ends_in_the_dead_letter_queue(resources: Any) -> None:
    """Lambda stops what came through the function 16 times; facts that come back once are none."""
    assert properties(resources, "EventServiceFunction")["RecursiveLoop"] == "Terminate"


def test_concurrency_is_limited_or_pollers_are_provisioned() -> None:
    """Lambda takes one of the two."""
    limited, provisioned = (
        properties(deployed(given)["Resources"], "EventServiceFunction")["Events"]["Records"]["Properties"]
        for given in ({}, {"ProvisionedPollers": "3"})
    )
    assert limited["ScalingConfig"] == {"MaximumConcurrency": "10"}
    assert "ProvisionedPollerConfig" not in limited
    assert provisioned["ProvisionedPollerConfig"] == {"MinimumPollers": "3", "MaximumPollers": "3"}
    assert "ScalingConfig" not in provisioned


def test_who_reads_is_logged_and_limited(resources: Any) -> None:
    """Every request with its caller, path and status, also those that were refused."""
    stage = properties(resources, "ReadApiv1Stage")
    log = stage["AccessLogSetting"]
    assert log["DestinationArn"] == {"Fn::GetAtt": ["ReadApiAccessLogGroup", "Arn"]}
    assert all(f"$context.{name}" in log["Format"] for name in ("identity.userArn", "path", "status", "requestTime"))
    (method,) = stage["MethodSettings"]
    assert (method["ResourcePath"], method["HttpMethod"]) == ("/*", "*")
    assert method["ThrottlingRateLimit"] == method["ThrottlingBurstLimit"]
    # API Gateway refuses a stage with an access log in a region for which it has no role.
    assert resources["ReadApi"]["DependsOn"] == "ApiGatewayAccount"


def test_the_api_has_one_stage(resources: Any) -> None:
    """SAM would add one named Stage, without the log and the limits."""
    stages = [each for each in resources.values() if each["Type"] == "AWS::ApiGateway::Stage"]
    assert len(stages) == 1
    deployment = next(each for each in resources.values() if each["Type"] == "AWS::ApiGateway::Deployment")
    assert "StageName" not in deployment["Properties"]


def test_errors_of_the_read_api_raise_the_alarm(resources: Any) -> None:
    alarm = properties(resources, "ReadApiErrorsAlarm")
    assert (alarm["Namespace"], alarm["MetricName"], alarm["Threshold"]) == ("AWS/ApiGateway", "5XXError", 0)
    name = properties(resources, "MonitoringStack")["Parameters"]["ReadApiName"]
    assert properties(resources, "ReadApi")["Name"] == name
