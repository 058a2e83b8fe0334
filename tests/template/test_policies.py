"""What the roles allow is what the functions do: the calls are seen on the wire, at work on real backends."""

import json
import os
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import psycopg
import pytest
from samtranslator.yaml_helper import yaml_parse

from event_service import api, handler, sweeper
from event_service.config import Settings
from event_service.deadline import Deadline
from event_service.errors import Unavailable
from event_service.migrate import deployment
from local.api import proxy_event
from local.api import resources as api_paths
from local.stack import Postgres, Stack, running_postgres
from tests.support.aws import Aws
from tests.support.dead_letters import make_letters
from tests.support.messages import CREATED, legacy, raw
from tests.support.proxies.tls import make_certificate, tls_before
from tests.template.conftest import TEMPLATE
from tests.template.resolver import broken_rules, references, resolve
from tests.template.wire import recording

MASTER, FUNCTION, SCHEDULER = "event_service_master", "event_service", "notification_scheduler"
MASTER_SECRET = "Database.MasterUserSecret.SecretArn"

# What the roles need although no code of ours calls it: (action, resource) and who does.
_LOG = "Lambda writes what the function prints, in a stream for each environment"
_VPC = "Lambda attaches the function to the VPC, with network interfaces that have no names before they exist"
_POLLER = "the event source mapping takes and deletes messages in the function's name"
_TRACE = "Lambda sends the traces of active tracing; X-Ray has no resources for these actions"
_ATTACH = (
    "ec2:CreateNetworkInterface",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSubnets",
    "ec2:DeleteNetworkInterface",
    "ec2:AssignPrivateIpAddresses",
    "ec2:UnassignPrivateIpAddresses",
)


_TRACING = {(action, "*"): _TRACE for action in ("xray:PutTraceSegments", "xray:PutTelemetryRecords")}


def log(group: str) -> dict[tuple[str, str], str]:
    return {(action, group): _LOG for action in ("logs:CreateLogStream", "logs:PutLogEvents")}


PLATFORM: dict[str, dict[tuple[str, str], str]] = {
    "EventServiceRole": {
        ("sqs:ReceiveMessage", "EventQueue"): _POLLER,
        ("sqs:DeleteMessage", "EventQueue"): _POLLER,
        ("sqs:GetQueueAttributes", "EventQueue"): _POLLER,
        **_TRACING,
        **log("EventServiceLogGroup"),
        **{(action, "*"): _VPC for action in _ATTACH},
    },
    "MigrationRole": {**log("MigrationLogGroup"), **{(action, "*"): _VPC for action in _ATTACH}},
    "SweeperRole": {**_TRACING, **log("SweeperLogGroup"), **{(action, "*"): _VPC for action in _ATTACH}},
    "ReadApiRole": log("ReadApiLogGroup") | _TRACING,
    "DatabaseProxyRole": {("secretsmanager:GetSecretValue", "DatabaseRoleSecret"): "the proxy logs in with it"},
}


GIVEN = {
    "nothing": {},
    "an existing VPC, database and topics": {
        "VpcId": "vpc-1",
        "VpcSubnetIds": "subnet-1,subnet-2",
        "VpcSecurityGroupIds": "sg-1",
        "DatabaseHost": "db.example.com",
        "DatabaseSecretArn": "arn:aws:secretsmanager:us-east-1:123456789012:secret:db",
        "EventTopicArn": "arn:aws:sns:us-east-1:123456789012:events",
        "AlarmTopicArn": "arn:aws:sns:us-east-1:123456789012:alarms",
    },
    "a proxy": {"UseDatabaseProxy": "true"},
    "a URL": {"DatabaseUrl": "postgresql://localhost/db"},
}


@pytest.fixture(scope="module")
def transformed_source() -> Any:
    """The template as it is written, with the short forms of functions as long ones."""
    return yaml_parse(TEMPLATE.read_text())


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """A server that asks for passwords, as RDS does."""
    access = "host all postgres 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
    with running_postgres(tmp_path_factory.mktemp("own") / "postgres", access) as server:
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute(f"CREATE ROLE {MASTER} LOGIN CREATEROLE PASSWORD 'first'".encode())
            connection.execute(f"CREATE DATABASE events OWNER {MASTER}".encode())
        yield server


@pytest.fixture
def secrets(stack: Stack) -> dict[str, str]:
    """The ARNs of the secrets of the three roles, by the names the template has for them."""
    client = boto3.client("secretsmanager", endpoint_url=stack.endpoint_url)
    made = {}
    for name, user, password in (
        (MASTER_SECRET, MASTER, "first"),
        ("DatabaseRoleSecret", FUNCTION, "second"),
        ("DatabaseSchedulerSecret", SCHEDULER, "third"),
    ):
        secret = json.dumps({"username": user, "password": password})
        made[name] = client.create_secret(Name=f"{user}-{uuid.uuid4().hex}", SecretString=secret)["ARN"]
    return made


@pytest.fixture
def rejected_topic(stack: Stack) -> str:
    return make_letters(stack).topic_arn


@pytest.fixture
def names(aws: Aws, rejected_topic: str, secrets: dict[str, str]) -> dict[str, str]:
    """What the template calls each resource that the functions reach."""
    table = {aws.table: "EventStoreTable", f"{aws.table}/index/by-user": "EventStoreTable/index/by-user"}
    return (
        table
        | {aws.topic_arn: "NotificationTopic", rejected_topic: "RejectedTopic"}
        | {arn: name for name, arn in secrets.items()}
    )


@pytest.fixture
def environment(
    stack: Stack,
    names: dict[str, str],
    postgres: Postgres,
    secrets: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[str]:
    """The environment that the template gives the functions, with a database behind TLS; its owner's URL."""
    made = {name: made for made, name in names.items()}
    certificate = make_certificate(tmp_path, "localhost")
    port = int(postgres.url.rpartition(":")[2].partition("/")[0])
    with tls_before(port, certificate) as tls_port:
        monkeypatch.delenv("DATABASE_URL", raising=False)
        for name, value in {
            "DATABASE_HOST": "localhost",
            "DATABASE_PORT": str(tls_port),
            "DATABASE_NAME": "events",
            "DATABASE_CERTIFICATES": str(certificate),
            "DATABASE_SECRET_ARN": secrets[MASTER_SECRET],
            "DATABASE_ROLE_SECRET_ARN": secrets["DatabaseRoleSecret"],
            "DATABASE_SCHEDULER_SECRET_ARN": secrets["DatabaseSchedulerSecret"],
            "EVENT_STORE_TABLE": made["EventStoreTable"],
            "NOTIFICATION_TOPIC_ARN": made["NotificationTopic"],
            "REJECTED_TOPIC_ARN": made["RejectedTopic"],
        }.items():
            monkeypatch.setenv(name, value)
        yield postgres.url.rpartition("/")[0] + "/events"


def test_each_role_allows_what_its_function_does_and_no_more(
    stack: Stack,
    transformed_source: Any,
    names: dict[str, str],
    secrets: dict[str, str],
    environment: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The calls are counted at work: migrating, handling new, repeated and rejected events, sweeping, reading."""
    used = {}
    with recording(stack.endpoint_url) as wire:
        monkeypatch.setenv("AWS_ENDPOINT_URL", wire.url)
        assert deployment.lambda_handler({}, None)["Status"] == "SUCCESS"
        used["MigrationRole"] = wire.take_actions()

        monkeypatch.setenv("DATABASE_SECRET_ARN", secrets["DatabaseRoleSecret"])
        records = [raw(legacy(itemId=item), CREATED) | {"messageId": item} for item in ("one", "two")]
        for _ in range(2):
            assert handler.lambda_handler({"Records": [*records, raw("{")]}, None) == {"batchItemFailures": []}
            # As after a rebuild: subscribers have not been told of what is there.
            with psycopg.connect(environment) as connection:
                connection.execute("UPDATE notifications SET announced = NULL")
        used["EventServiceRole"] = wire.take_actions()
        may_not_read_the_tables()

        sns, topic = stack.client("sns"), os.environ["NOTIFICATION_TOPIC_ARN"]
        sns.delete_topic(TopicArn=topic)
        handler.lambda_handler({"Records": [raw(legacy(itemId="three"), CREATED)]}, None)
        sns.create_topic(Name=topic.rpartition(":")[2])
        with psycopg.connect(environment) as connection:
            connection.execute("UPDATE outbox SET committed_at = committed_at - interval '16 minutes'")
        handler.build.cache_clear()  # another execution environment
        wire.take_actions()
        assert sweeper.lambda_handler({}, None)["published"] == 1
        used["SweeperRole"] = wire.take_actions()

        for path in ("/items/reminder/one/events", "/items/reminder/one", "/users/user-a/events"):
            assert api.lambda_handler(proxy_event(path, api_paths()), None)["statusCode"] == 200
        used["ReadApiRole"] = wire.take_actions()
    used["DatabaseProxyRole"] = set()  # no code of ours has it

    roles = allowed(resolve(transformed_source, {"UseDatabaseProxy": "true"}))
    assert roles.keys() == used.keys() == PLATFORM.keys()
    for role, actions in roles.items():
        ours = {(action, names[resource]) for action, resource in used[role]}
        assert actions == ours | PLATFORM[role].keys(), role


def may_not_read_the_tables() -> None:
    """The role of the function calls the functions and reads nothing."""
    database = handler.build(Settings.from_environment(os.environ)).backends.relay.notifications.database
    for table in ("notifications", "outbox", '"notification"'):
        with pytest.raises(Unavailable, match="InsufficientPrivilege"):
            database.query(f"SELECT * FROM {table}", (), Deadline.after(10))


def allowed(template: Any) -> dict[str, set[tuple[str, str]]]:
    """Return what each role allows, as (action, resource)."""
    roles: dict[str, set[tuple[str, str]]] = {}
    for name, resource in template["Resources"].items():
        if resource["Type"] != "AWS::IAM::Role":
            continue
        assert "ManagedPolicyArns" not in resource["Properties"]
        statements = [
            statement
            for policy in resource["Properties"]["Policies"]
            for statement in policy["PolicyDocument"]["Statement"]
        ]
        assert {statement["Effect"] for statement in statements} == {"Allow"}
        roles[name] = {
            (action, named(target))
            for statement in statements
            for action in as_list(statement["Action"])
            for target in as_list(statement["Resource"])
        }
    return roles


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def named(target: Any) -> str:
    """Return the name of the resource that an ARN in the template is of."""
    match target:
        case {"Fn::GetAtt": [name, "Arn"]} | {"Ref": name}:
            return str(name)
        case {"Fn::GetAtt": [name, attribute]}:
            return f"{name}.{attribute}"
        case {"Fn::Sub": text}:
            return re.sub(r"\$\{(\w+)\.Arn\}", r"\1", text)
    return str(target)


def test_an_asterisk_has_its_reason_beside_it() -> None:
    """In a comment on the line, or right above its statement."""
    lines = TEMPLATE.read_text().splitlines()
    for number, line in enumerate(lines):
        if re.search(r"""Resource: ["']?\*["']?""", line):
            above = lines[max(number - 12, 0) : number + 1]
            assert any("#" in each for each in above), f"line {number + 1}: {line.strip()}"


@pytest.mark.parametrize("given", GIVEN)
def test_nothing_refers_to_what_is_not_made(transformed_source: Any, given: str) -> None:
    """Whatever the parameters, each resource and output refers to resources that are there."""
    resolved = resolve(transformed_source, GIVEN[given])
    outputs = {name: output for name, output in resolved["Outputs"].items() if "Condition" not in output}
    there = resolved["Resources"].keys() | transformed_source["Parameters"].keys()
    for name, part in (resolved["Resources"] | outputs).items():
        missing = {each for each in references(part) if each not in there and not each.startswith("AWS::")}
        # SAM makes these of a function, of its events and of an API.
        missing -= {each for each in missing if each.endswith((".Version", "FunctionRecords", "Stage"))}
        assert not missing, name


@pytest.mark.parametrize(
    ("given", "there", "absent"),
    [
        ("nothing", ["Vpc", "Database", "DatabaseRoleSecret", "EventTopic"], ["DatabaseProxy"]),
        (
            "an existing VPC, database and topics",
            ["EventServiceFunction", "DatabaseSchema"],
            ["Vpc", "Database", "EventTopic", "AlarmTopic", "DatabaseProxy"],
        ),
        ("a proxy", ["Vpc", "Database", "DatabaseProxy"], []),
        ("a URL", ["EventServiceFunction", "DatabaseSchema"], ["Vpc", "Database", "DatabaseRoleSecret"]),
    ],
)
def test_what_is_made_follows_from_what_is_given(
    transformed_source: Any, given: str, there: list[str], absent: list[str]
) -> None:
    """What exists already is used."""
    made = resolve(transformed_source, GIVEN[given])["Resources"].keys()
    assert not set(there) - made
    assert not made & set(absent)


@pytest.mark.parametrize("given", GIVEN)
def test_what_belongs_together_may_be_given_together(transformed_source: Any, given: str) -> None:
    """No rule refuses it."""
    assert broken_rules(transformed_source, GIVEN[given]) == set()


@pytest.mark.parametrize(
    ("given", "rule"),
    [
        ({"DatabaseHost": "db.example.com"}, "AnExistingDatabaseIsGivenWhole"),
        ({"DatabaseSecretArn": "arn:secret"}, "ASecretIsThatOfAnExistingDatabase"),
        ({"DatabaseMasterSecretArn": "arn:secret"}, "AMasterIsThatOfAnExistingDatabase"),
        ({"DatabasePort": "6432"}, "ADatabaseOfTheStackHasTheUsualPort"),
        ({"VpcId": "vpc-1"}, "AnExistingVpcIsGivenWhole"),
        ({"VpcId": "vpc-1", "VpcSubnetIds": "subnet-1"}, "AnExistingVpcIsGivenWhole"),
        ({"VpcSubnetIds": "subnet-1,subnet-2"}, "SubnetsAreThoseOfAnExistingVpc"),
        ({"VpcSecurityGroupIds": "sg-1"}, "SubnetsAreThoseOfAnExistingVpc"),
    ],
)
def test_what_belongs_together_is_asked_for_together(transformed_source: Any, given: dict[str, str], rule: str) -> None:
    """CloudFormation says so before it makes anything."""
    assert broken_rules(transformed_source, given) == {rule}
