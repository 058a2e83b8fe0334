"""Permissions: roles, policies, and what is closed to others."""

import json
import re
from typing import Any

from tests.template.conftest import ALL_TEMPLATES
from tests.template.resolver import managed_policies, properties


def test_the_function_may_do_what_it_does_and_no_more(resources: Any) -> None:
    """Each action on one resource by its name; the database stack adds its secret and its network."""
    (policy,) = properties(resources, "EventServiceRole")["Policies"]
    always = policy["PolicyDocument"]["Statement"]
    assert {statement["Sid"]: (statement["Action"], json.dumps(statement["Resource"])) for statement in always} == {
        "ReceiveEvents": (
            ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"],
            '{"Fn::GetAtt": ["EventQueue", "Arn"]}',
        ),
        "AppendToTheEventStore": (
            ["dynamodb:PartiQLInsert", "dynamodb:BatchGetItem"],
            '{"Fn::GetAtt": ["EventStoreTable", "Arn"]}',
        ),
        "PublishFacts": ("sns:Publish", '{"Ref": "NotificationTopic"}'),
        "HandOverRejectedRecords": ("sns:Publish", '{"Ref": "RejectedTopic"}'),
        "WriteTheLog": (
            ["logs:CreateLogStream", "logs:PutLogEvents"],
            '{"Fn::GetAtt": ["EventServiceLogGroup", "Arn"]}',
        ),
        "Trace": (["xray:PutTraceSegments", "xray:PutTelemetryRecords"], '"*"'),
    }


def test_the_functions_read_one_secret_and_never_that_of_the_owner(resources: Any) -> None:
    """An existing secret may be encrypted with a key of the account: only Secrets Manager may use it for them."""
    secret, key = properties(resources, "FunctionAccess")["PolicyDocument"]["Statement"]
    assert secret["Action"] == "secretsmanager:GetSecretValue"
    existing = {"Fn::ImportValue": {"Fn::Sub": "${ExistingDatabase}-SecretArn"}}
    assert secret["Resource"] == {"Fn::If": ["CreateDatabase", {"Ref": "DatabaseRoleSecret"}, existing]}
    condition, statement, _ = key["Fn::If"]
    assert (condition, statement["Action"]) == ("UseExistingDatabase", "kms:Decrypt")
    assert statement["Resource"] == {"Fn::ImportValue": {"Fn::Sub": "${ExistingDatabase}-SecretKeyArn"}}
    via = "secretsmanager.${AWS::Region}.${AWS::URLSuffix}"
    assert statement["Condition"] == {"StringEquals": {"kms:ViaService": {"Fn::Sub": via}}}


def test_lambda_may_attach_the_functions_to_the_vpc_and_their_code_may_not(resources: Any) -> None:
    """The code could otherwise delete any free interface of the account."""
    for role, access in (("EventService", "Function"), ("Sweeper", "Function"), ("Operations", "Operations")):
        policies = properties(resources, f"{role}Role")["ManagedPolicyArns"]
        assert policies == managed_policies(f"{access}Access")
    allow, deny = properties(resources, "NetworkAccess")["PolicyDocument"]["Statement"]
    assert (allow["Effect"], deny["Effect"]) == ("Allow", "Deny")
    assert all(action.startswith("ec2:") and "*" not in action for action in allow["Action"])
    assert deny["Action"] == allow["Action"]
    functions = "arn:${AWS::Partition}:lambda:*:${AWS::AccountId}:function:*"
    assert deny["Condition"] == {"ArnLike": {"lambda:SourceFunctionArn": {"Fn::Sub": functions}}}


def test_the_read_api_may_read_the_event_store_and_no_more(resources: Any) -> None:
    """It queries the table and its index, reads items of the table by key, and writes its log."""
    (policy,) = properties(resources, "ReadApiRole")["Policies"]
    assert [(each["Action"], each["Resource"]) for each in policy["PolicyDocument"]["Statement"]] == [
        (
            "dynamodb:Query",
            [{"Fn::GetAtt": ["EventStoreTable", "Arn"]}, {"Fn::Sub": "${EventStoreTable.Arn}/index/by-user"}],
        ),
        ("dynamodb:BatchGetItem", {"Fn::GetAtt": ["EventStoreTable", "Arn"]}),
        (["logs:CreateLogStream", "logs:PutLogEvents"], {"Fn::GetAtt": ["ReadApiLogGroup", "Arn"]}),
        (["xray:PutTraceSegments", "xray:PutTelemetryRecords"], "*"),
    ]


def test_only_signed_requests_of_this_account_reach_the_read_api(resources: Any) -> None:
    """Every method wants IAM's signature, and the resource policy keeps other accounts out."""
    body = properties(resources, "ReadApi")["Body"]
    methods = [method for path in body["paths"].values() for method in path.values()]
    assert len(methods) == 8
    assert all(method["security"] == [{"AWS_IAM": []}] for method in methods)
    assert all("credentials" not in method["x-amazon-apigateway-integration"] for method in methods)
    statements = body["x-amazon-apigateway-policy"]["Statement"]
    assert {statement["Effect"] for statement in statements} == {"Allow", "Deny"}
    (deny,) = (statement for statement in statements if statement["Effect"] == "Deny")
    assert deny["Condition"] == {"StringNotEquals": {"aws:PrincipalAccount": {"Ref": "AWS::AccountId"}}}
    (allow,) = (statement for statement in statements if statement["Effect"] == "Allow")
    assert allow["Principal"]["AWS"]["Fn::Sub"].endswith(":iam::${AWS::AccountId}:root")


def test_nothing_else_brings_a_role_or_a_policy(resources: Any) -> None:
    """SAM would add a role with rights on every queue if the function had none."""
    types = [resource["Type"] for resource in resources.values()]
    # One each for the five functions, the proxy, API Gateway's log and CodeDeploy.
    assert types.count("AWS::IAM::Role") == 8
    assert types.count("AWS::IAM::Policy") == 0
    assert types.count("AWS::IAM::ManagedPolicy") == 3
    assert properties(resources, "OperationsFunction")["Role"] == {"Fn::GetAtt": ["OperationsRole", "Arn"]}
    assert properties(resources, "EventServiceFunction")["Role"] == {"Fn::GetAtt": ["EventServiceRole", "Arn"]}
    assert properties(resources, "SweeperFunction")["Role"] == {"Fn::GetAtt": ["SweeperRole", "Arn"]}
    assert properties(resources, "ReadApiFunction")["Role"] == {"Fn::GetAtt": ["ReadApiRole", "Arn"]}


def test_only_the_event_topic_sends_to_the_queue_and_only_encrypted(resources: Any) -> None:
    """The topic is the created one or the one that was given."""
    allow, deny, foreign = properties(resources, "EventQueuePolicy")["PolicyDocument"]["Statement"]
    assert allow["Principal"] == {"Service": "sns.amazonaws.com"}
    assert allow["Action"] == "sqs:SendMessage"
    topic = {"Fn::If": ["CreateEventTopic", {"Ref": "EventTopic"}, {"Ref": "EventTopicArn"}]}
    assert allow["Condition"] == {"ArnEquals": {"aws:SourceArn": topic}}
    assert (deny["Effect"], deny["Condition"]) == ("Deny", {"Bool": {"aws:SecureTransport": "false"}})
    assert foreign["Effect"] == "Deny"
    assert foreign["Condition"]["StringNotEquals"] == {"aws:PrincipalAccount": {"Ref": "AWS::AccountId"}}
    assert properties(resources, "EventSubscription")["TopicArn"] == topic
    assert resources["EventTopic"]["Condition"] == "CreateEventTopic"


def test_topics_are_encrypted_and_closed_to_others(resources: Any) -> None:
    """With a key that alarms may use, too; plain HTTP and other accounts are refused."""
    for name in ("EventTopic", "NotificationTopic", "AlarmTopic"):
        assert properties(resources, name)["KmsMasterKeyId"] == {"Ref": "TopicKey"}
        statements = properties(resources, f"{name}Policy")["PolicyDocument"]["Statement"]
        assert {"Bool": {"aws:SecureTransport": "false"}} in [statement.get("Condition") for statement in statements]


def test_a_star_has_its_reason_next_to_it() -> None:
    """On its line, unless it is that of a denial."""
    found = 0
    for template in ALL_TEMPLATES:
        lines = template.read_text().splitlines()
        for number, line in enumerate(lines):
            if re.search(r'(Resource|Principal|AWS): ?"\*"|"\*" \}', line):
                found += 1
                assert "#" in line or "Effect: Deny" in lines[number - 1], (template.name, number + 1)
    assert found
