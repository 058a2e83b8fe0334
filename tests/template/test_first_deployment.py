"""A first deployment works with any answers, loses no event, and can be rolled back and repeated when it fails."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import boto3
import pytest
from moto import mock_aws
from samtranslator.yaml_helper import yaml_parse

from tests.template.conftest import INFRA
from tests.template.resolver import deployed, properties, references, settings

ELSEWHERE = "arn:aws:sns:eu-west-1:123456789012:events"
HERE = "arn:aws:sns:us-east-1:123456789012:events"


def needs(resources: Any, name: str) -> set[str]:
    """Everything that CloudFormation creates before a resource."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        for each in references(resources[waiting.pop()]):
            target = each.partition(".")[0]
            if target in resources and target not in found:
                found.add(target)
                waiting.append(target)
    return found


def test_the_proxy_gets_its_target_when_the_role_exists_with_which_it_logs_in() -> None:
    """CloudFormation waits until the target is available, and the migrations create the role."""
    resources = deployed({}, UseDatabaseProxy="true")["Resources"]
    assert "DatabaseSchema" in needs(resources, "DatabaseProxyTarget")
    assert not {"DatabaseProxy", "DatabaseProxyTarget"} & needs(resources, "DatabaseSchema")
    for function in ("EventServiceFunction", "SweeperFunction"):
        assert "DatabaseProxyTarget" in needs(resources, function)


def test_the_migrations_have_their_network_and_their_database() -> None:
    """They read a secret, and respond to CloudFormation through S3: both endpoints are there before them."""
    nested = yaml_parse((INFRA / "database.yaml").read_text())["Resources"]
    assert {"SecretsManagerEndpoint", "S3Endpoint", "PrivateRouteA", "PrivateRouteB", "Database"} <= nested.keys()
    top = yaml_parse((INFRA.parent / "template.yaml").read_text())["Resources"]
    assert "DatabaseStack" in needs(top, "DatabaseSchema")


@pytest.mark.parametrize("given", [{}, {"EventTopicArn": HERE}])
def test_sns_keeps_what_the_queue_refuses(given: dict[str, str]) -> None:
    """In the dead-letter queue, whose policy lets the event topic send; both policies come before the subscription."""
    resources = deployed(given)["Resources"]
    subscription = properties(resources, "EventSubscription")
    dead_letters = {"Fn::GetAtt": ["EventDeadLetterQueue", "Arn"]}
    assert subscription["RedrivePolicy"] == {"deadLetterTargetArn": dead_letters}
    assert "Region" not in subscription
    assert {"EventQueuePolicy", "EventDeadLetterQueuePolicy"} <= needs(resources, "EventSubscription")
    assert "EventDeadLetterQueuePolicy" in needs(resources, "RejectedSubscription")
    statements = properties(resources, "EventDeadLetterQueuePolicy")["PolicyDocument"]["Statement"]
    sources = [each["Condition"]["ArnEquals"]["aws:SourceArn"] for each in statements if each["Effect"] == "Allow"]
    assert sources == [{"Ref": "RejectedTopic"}, subscription["TopicArn"]]


def test_a_topic_in_another_region_is_subscribed_there() -> None:
    """A dead-letter queue would have to be there, too."""
    subscription = properties(deployed({"EventTopicArn": ELSEWHERE})["Resources"], "EventSubscription")
    assert subscription["Region"] == {"Fn::Select": [3, {"Fn::Split": [":", ELSEWHERE]}]}
    assert "RedrivePolicy" not in subscription


def test_deletion_protection_comes_after_everything_that_may_fail() -> None:
    """A rollback could not delete a protected database, nor the network around it."""
    resources = deployed({"Environment": "prod", "AlarmEmail": "night@example.com"})["Resources"]
    assert "DeletionProtection" not in properties(resources, "Database")
    protection = resources["DatabaseProtection"]
    assert protection["Properties"]["Protected"] == "true"
    assert protection["DependsOn"] == "MonitoringStack"
    top = yaml_parse((INFRA.parent / "template.yaml").read_text())["Resources"]
    last = needs(top, "MonitoringStack")
    assert {"EventServiceFunction", "SweeperFunction", "ReadApi", "DatabaseSchema", "EventSubscription"} <= last | {
        "EventSubscription"
    }


@dataclass
class Answers:
    """Stands where the runtime puts its module `cfnresponse`."""

    SUCCESS: str = "SUCCESS"
    FAILED: str = "FAILED"
    sent: list[str] = field(default_factory=list)

    def send(self, _event: Any, _context: Any, status: str, _data: Any, _physical: str, reason: str = "") -> None:
        self.sent.append(f"{status} {reason}".strip())


@pytest.fixture
def answers() -> Answers:
    return Answers()


@pytest.fixture
def protect(answers: Answers, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """The code in the template, on an RDS that has the database `events`."""
    code = yaml_parse((INFRA / "database.yaml").read_text())["Resources"]["ProtectionFunction"]["Properties"]["Code"]
    module = ModuleType("index")
    monkeypatch.setitem(__import__("sys").modules, "cfnresponse", answers)
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    exec(code["ZipFile"], module.__dict__)  # noqa: S102  # the template's own

    def call(request: str, protected: str = "true", database: str = "events") -> None:
        module.handler(
            {"RequestType": request, "ResourceProperties": {"Database": database, "Protected": protected}}, None
        )

    with mock_aws():
        boto3.client("rds").create_db_instance(
            DBInstanceIdentifier="events", DBInstanceClass="db.t4g.micro", Engine="postgres"
        )
        yield call


def is_protected() -> bool:
    return bool(boto3.client("rds").describe_db_instances()["DBInstances"][0]["DeletionProtection"])


def test_the_database_is_protected_until_its_stack_is_deleted(protect: Callable[..., None], answers: Answers) -> None:
    """A change of the environment switches it, too."""
    protect("Create")
    assert is_protected()
    protect("Update", "false")
    assert not is_protected()
    protect("Update", "true")
    assert is_protected()
    protect("Delete")
    assert not is_protected()
    assert answers.sent == ["SUCCESS"] * 4


def test_a_database_that_is_gone_does_not_keep_the_stack(protect: Callable[..., None], answers: Answers) -> None:
    """But one that cannot be protected fails the deployment."""
    protect("Delete", database="other")
    protect("Create", database="other")
    success, failed = answers.sent
    assert success == "SUCCESS"
    assert re.match("FAILED .*DBInstanceNotFound", failed)


def test_names_are_short_enough_and_clash_with_nothing(resources: Any) -> None:
    """A proxy's name has at most 63 characters; a layer's would be shared by every stack of the account."""
    name, own = properties(resources, "DatabaseProxy")["DBProxyName"]["Fn::Sub"]
    assert len(name.replace("${Id}", "")) + 36 <= 63
    assert own == {"Id": {"Fn::Select": [2, {"Fn::Split": ["/", {"Ref": "AWS::StackId"}]}]}}
    layer = next(each for each in resources.values() if each["Type"] == "AWS::Lambda::LayerVersion")
    assert layer["Properties"]["LayerName"] == {"Fn::Sub": "${AWS::StackName}-dependencies"}


def test_no_answer_can_replace_the_database(source: Any, resources: Any) -> None:
    """RDS makes a new, empty one for another name or other subnets."""
    name = {"Fn::FindInMap": ["Settings", {"Ref": "Environment"}, "DatabaseName"]}
    assert properties(resources, "Database")["DBName"] == name
    assert "DatabaseName" not in source["Parameters"]


def test_two_networks_can_be_peered_with_one(resources: Any) -> None:
    """Each can have its own addresses; both subnets are in them."""
    assert properties(resources, "Vpc")["CidrBlock"] == {"Ref": "VpcCidr"}
    blocks = [properties(resources, f"PrivateSubnet{zone}")["CidrBlock"] for zone in "AB"]
    assert blocks == [{"Fn::Select": [number, {"Fn::Cidr": [{"Ref": "VpcCidr"}, 2, 7]}]} for number in (0, 1)]


def test_only_rds_of_this_account_assumes_the_role_of_the_proxy(resources: Any) -> None:
    (statement,) = properties(resources, "DatabaseProxyRole")["AssumeRolePolicyDocument"]["Statement"]
    assert statement["Condition"] == {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}}


def test_the_operator_sees_what_the_database_is_doing_without_connecting_to_it(resources: Any) -> None:
    database = properties(resources, "Database")
    assert database["EnablePerformanceInsights"] is True
    assert database["DatabaseInsightsMode"] == "standard"


def test_production_is_larger_kept_longer_and_stricter(source: Any) -> None:
    """One answer decides it."""
    dev, prod = (settings(source, environment) for environment in ("dev", "prod"))
    assert dev.keys() == prod.keys()
    assert prod["LogRetentionDays"] > dev["LogRetentionDays"]
    assert prod["RejectedEventsAlarmAt"] < dev["RejectedEventsAlarmAt"]
    database = yaml_parse((INFRA / "database.yaml").read_text())["Mappings"]["Settings"]
    assert (database["dev"]["MultiAz"], database["prod"]["MultiAz"]) == ("false", "true")
    assert database["prod"]["BackupDays"] > database["dev"]["BackupDays"]


@pytest.mark.parametrize(("environment", "zones"), [("dev", 1), ("prod", 2)])
def test_interface_endpoints_are_in_one_zone_unless_in_production(environment: str, zones: int) -> None:
    """One is enough to reach them from both."""
    resources = deployed({"Environment": environment, "AlarmEmail": "night@example.com"})["Resources"]
    for endpoint in ("SnsEndpoint", "SecretsManagerEndpoint"):
        assert len(properties(resources, endpoint)["SubnetIds"]) == zones
