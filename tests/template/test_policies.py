"""The roles allow exactly what the functions do: the calls are recorded on the wire, with real backends."""

import json
import os
import re
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import psycopg
import pytest
from samtranslator.yaml_helper import yaml_parse

from event_service import handler, sweeper
from event_service.api import routes as api
from event_service.config import Settings
from event_service.deadline import Deadline
from event_service.errors import Unavailable
from event_service.operations import handler as operations
from local.api import proxy_event
from local.api import resources as api_paths
from local.stack import Postgres, Stack, running_postgres
from tests.support.aws import Aws
from tests.support.dead_letters import make_letters
from tests.support.messages import CREATED, legacy, raw
from tests.support.proxies.tls import make_certificate, tls_before
from tests.template.conftest import ALL_TEMPLATES, EXISTING
from tests.template.resolver import broken_rules, deployed, references, resolve
from tests.template.wire import recording

MASTER, FUNCTION, SCHEDULER = "event_service_master", "event_service", "notification_scheduler"
MASTER_SECRET = "Database.MasterUserSecret.SecretArn"

# Permissions for calls that our code does not make: (action, resource), and the caller.
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


_COMMANDS = "the commands call it: docs/rebuild.md, docs/erasure.md, `migrate --adopt`"
_OPERATIONS = (
    *("DescribeTable", "Scan"),
    *("GetItem", "PutItem", "UpdateItem", "Query"),
    *("PartiQLInsert", "BatchGetItem"),
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
    "OperationsRole": {
        **log("OperationsLogGroup"),
        **{(action, "*"): _VPC for action in _ATTACH},
        **{(f"dynamodb:{action}", "EventStoreTable"): _COMMANDS for action in _OPERATIONS},
        ("dynamodb:Query", "EventStoreTable/index/by-user"): _COMMANDS,
    },
    "SweeperRole": {**_TRACING, **log("SweeperLogGroup"), **{(action, "*"): _VPC for action in _ATTACH}},
    "ReadApiRole": log("ReadApiLogGroup") | _TRACING,
    "DatabaseProxyRole": {("secretsmanager:GetSecretValue", "DatabaseRoleSecret"): "the proxy logs in with it"},
    "ProtectionRole": {
        ("rds:ModifyDBInstance", "Database.DBInstanceArn"): "the code in the template switches deletion protection",
        **log("ProtectionLogGroup"),
    },
    "ApiGatewayLogRole": {},
}


GIVEN = {
    "nothing": {},
    "production": {"Environment": "prod", "AlarmEmail": "night@example.com"},
    "an existing VPC, database and topics": {
        "ExistingNetwork": "ours",
        "ExistingDatabase": "ours",
        "EventTopicArn": "arn:aws:sns:us-east-1:123456789012:events",
        "AlarmTopicArn": "arn:aws:sns:us-east-1:123456789012:alarms",
    },
    "an existing VPC": {"ExistingNetwork": "ours"},
    "an existing database that is reachable from outside of a VPC": {"ExistingDatabase": "ours"},
    "a topic in another region": {"EventTopicArn": "arn:aws:sns:eu-west-1:123456789012:events"},
    "provisioned pollers": {"ProvisionedPollers": "2"},
    "a URL": {"DatabaseUrl": "postgresql://localhost/db"},
}


@pytest.fixture(scope="module")
def postgres(server_directories: Callable[[], Path]) -> Iterator[Postgres]:
    """A server that asks for passwords, as RDS does."""
    access = "host all postgres 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
    with running_postgres(server_directories() / "postgres", access) as server:
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
    """The template's name for each resource that the functions reach."""
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
    names: dict[str, str],
    secrets: dict[str, str],
    environment: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The calls are counted at work: migrating, handling new, repeated and rejected events, sweeping, reading."""
    used = {}
    context = SimpleNamespace(get_remaining_time_in_millis=lambda: 60_000)
    with recording(stack.endpoint_url) as wire:
        monkeypatch.setenv("AWS_ENDPOINT_URL", wire.url)
        assert operations.lambda_handler({"command": ["migrate"]}, context)["status"] == 0
        used["OperationsRole"] = wire.take_actions()

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
    used |= {
        "DatabaseProxyRole": set(),
        "ProtectionRole": set(),
        "ApiGatewayLogRole": set(),
    }  # none of our code has them

    roles = allowed(deployed({}, UseDatabaseProxy="true"))
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
    """Return what each role allows, as (action, resource), in its own policies and in the stack's managed ones."""
    roles: dict[str, set[tuple[str, str]]] = {}
    for name, resource in template["Resources"].items():
        if resource["Type"] != "AWS::IAM::Role":
            continue
        managed = [each["Ref"] for each in resource["Properties"].get("ManagedPolicyArns", []) if "Ref" in each]
        documents = [
            *(policy["PolicyDocument"] for policy in resource["Properties"].get("Policies", [])),
            *(template["Resources"][policy]["Properties"]["PolicyDocument"] for policy in managed),
        ]
        statements = [each for document in documents for each in document["Statement"] if each["Effect"] == "Allow"]
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
    for template in ALL_TEMPLATES:
        lines = template.read_text().splitlines()
        for number, line in enumerate(lines):
            if re.search(r"""Resource: ["']?\*["']?""", line):
                above = lines[max(number - 12, 0) : number + 1]
                assert any("#" in each for each in above), f"{template.name}, line {number + 1}: {line.strip()}"


@pytest.mark.parametrize("given", GIVEN)
def test_nothing_refers_to_what_is_not_made(given: str) -> None:
    """With any parameters, each resource and output refers to resources that exist."""
    resolved = deployed(GIVEN[given])
    there = resolved["Resources"].keys() | _parameters()
    for name, part in (resolved["Resources"] | resolved["Outputs"]).items():
        missing = {each for each in references(part) if each not in there and not each.startswith("AWS::")}
        # SAM makes these of a function, of its events and of an API.
        missing -= {each for each in missing if each.endswith((".Version", "FunctionRecords", "Stage"))}
        missing -= {"MonitoringStack"}  # merged into the rest
        assert not missing, name


def _parameters() -> set[str]:
    return {name for template in ALL_TEMPLATES for name in yaml_parse(template.read_text())["Parameters"]}


@pytest.mark.parametrize(
    ("given", "there", "absent"),
    [
        ("nothing", ["Vpc", "Database", "DatabaseRoleSecret", "EventTopic"], ["DatabaseProxy"]),
        (
            "an existing VPC, database and topics",
            ["EventServiceFunction", "DatabaseSchema"],
            ["Vpc", "Database", "EventTopic", "AlarmTopic", "DatabaseProxy", "DatabaseProtection"],
        ),
        ("an existing VPC", ["Database", "DatabaseProtection"], ["Vpc", "SnsEndpoint"]),
        ("a URL", ["EventServiceFunction", "DatabaseSchema"], ["Vpc", "Database", "DatabaseRoleSecret"]),
    ],
)
def test_what_is_made_follows_from_what_is_given(given: str, there: list[str], absent: list[str]) -> None:
    """Existing resources are used, and no others are made in their place."""
    made = deployed(GIVEN[given])["Resources"].keys()
    assert not set(there) - made
    assert not made & set(absent)


@pytest.mark.parametrize("given", GIVEN)
def test_what_belongs_together_may_be_given_together(source: Any, given: str) -> None:
    """No rule refuses it."""
    assert broken_rules(source, GIVEN[given]) == set()


@pytest.mark.parametrize(
    ("given", "rule"),
    [
        ({"Environment": "prod"}, "AlarmsOfProductionReachSomebody"),
        ({"AlarmEmail": "a@example.com", "AlarmTopicArn": "arn:topic"}, "AlarmsGoToOneTopic"),
        ({"ProvisionedPollers": "1"}, "PollersAreTwoOrMore"),
    ],
)
def test_what_cannot_work_is_refused(source: Any, given: dict[str, str], rule: str) -> None:
    """CloudFormation says so before it makes anything."""
    assert broken_rules(source, given) == {rule}


@pytest.mark.parametrize(
    ("given", "rules"),
    [
        ({"VpcId": "vpc-1", "SubnetIds": "subnet-1,subnet-2", "SecurityGroupIds": "sg-1"}, set()),
        ({"DatabaseHost": "db.example.com", "SecretArn": "arn:secret", "OwnerSecretArn": "arn:owner"}, set()),
        ({"VpcId": "vpc-1"}, {"AVpcIsNamedWhole"}),
        ({"VpcId": "vpc-1", "SubnetIds": "subnet-1"}, {"AVpcIsNamedWhole"}),
        ({"SubnetIds": "subnet-1,subnet-2"}, {"SubnetsAreThoseOfAVpc"}),
        ({"SecurityGroupIds": "sg-1"}, {"SubnetsAreThoseOfAVpc"}),
        ({"DatabaseHost": "db.example.com"}, {"ADatabaseIsNamedWhole"}),
        ({"SecretArn": "arn:secret"}, {"ASecretIsThatOfADatabase"}),
        ({"OwnerSecretArn": "arn:secret"}, {"ASecretIsThatOfADatabase"}),
    ],
)
def test_what_exists_is_named_whole(given: dict[str, str], rules: set[str]) -> None:
    """A VPC with its subnets and groups, a database with its secret."""
    assert broken_rules(yaml_parse(EXISTING.read_text()), given) == rules


@pytest.mark.parametrize("given", ["an existing VPC", "an existing VPC, database and topics"])
def test_what_is_imported_is_exported(given: str) -> None:
    """By a stack of infra/existing.yaml that names both."""
    named = {"VpcId": "vpc-1", "SubnetIds": "s", "SecurityGroupIds": "g", "DatabaseHost": "h", "SecretArn": "s"}
    exported = resolve(yaml_parse(EXISTING.read_text()), named)["Outputs"]
    names = {each["Export"]["Name"]["Fn::Sub"].replace("${AWS::StackName}", "ours") for each in exported.values()}
    imported = set(_imports(deployed(GIVEN[given])))
    assert imported
    assert imported <= names


def _imports(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if "Fn::ImportValue" in value:
            yield re.sub(r"\$\{Existing\w+\}", "ours", value["Fn::ImportValue"]["Fn::Sub"])
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from _imports(each)
