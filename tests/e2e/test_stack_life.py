import platform
import shutil
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest
from botocore.exceptions import ClientError

from local.deployment import DeploymentError, deploy
from local.stack import Stack, create_database

NAME = "life"


def test_a_stack_is_created_updated_rolled_back_and_deleted(stack: Stack, built: Path, tmp_path: Path) -> None:
    """A failing migration fails the deployment and changes nothing; a failed creation can be repeated.

    The code that is invoked, that of the alias, is always that of the last deployment that succeeded.
    """
    url = create_database(stack, NAME)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE notifications ()")
        with pytest.raises(DeploymentError, match="42P07: relation"):
            deploy(stack, {"DatabaseUrl": url}, name=NAME, directory=built)
        connection.execute("DROP TABLE notifications")
    delete(stack)

    deployment = deploy(stack, {"DatabaseUrl": url}, name=NAME, directory=built)
    function = deployment["EventServiceFunctionName"]
    first = configuration_of(stack, function)
    assert first["Runtime"] == f"python{sys.version_info.major}.{sys.version_info.minor}"
    assert first["Architectures"] == [{"aarch64": "arm64"}.get(platform.machine(), platform.machine())]

    release = shutil.copytree(built, tmp_path / "release")
    add_migration(release, "9001_widgets.sql", "CREATE TABLE widgets (id integer);")
    deploy(stack, {"DatabaseUrl": url, "Environment": "prod"}, name=NAME, directory=release)
    updated = configuration_of(stack, function)
    assert updated["CodeSha256"] != first["CodeSha256"]
    assert updated["Environment"]["Variables"]["POWERTOOLS_LOG_LEVEL"] == "INFO"
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT count(*) FROM widgets").fetchone() == (0,)

    add_migration(release, "9002_gadgets.sql", "CREATE TABLE gadgets (); SELECT 1 / 0;")
    with pytest.raises(DeploymentError, match="22012: division by"):
        deploy(stack, {"DatabaseUrl": url}, name=NAME, directory=release)
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT to_regclass('gadgets')").fetchone() == (None,)
    assert configuration_of(stack, function) == updated

    deploy(stack, {"DatabaseUrl": url}, name=NAME, directory=built)
    assert configuration_of(stack, function)["CodeSha256"] == first["CodeSha256"]

    delete(stack)
    assert stack.client("dynamodb").describe_table(TableName=deployment["EventStoreTableName"])
    with pytest.raises(ClientError, match="ResourceNotFoundException"):
        stack.client("lambda").get_function(FunctionName=function)


def delete(stack: Stack) -> None:
    cloudformation = stack.client("cloudformation")
    cloudformation.delete_stack(StackName=NAME)
    cloudformation.get_waiter("stack_delete_complete").wait(StackName=NAME, WaiterConfig={"Delay": 1})


def add_migration(release: Path, name: str, statements: str) -> None:
    """Add a migration to what was built, as a later release would have it."""
    for function in ("OperationsFunction", "EventServiceFunction"):
        (release / function / "event_service" / "migrations" / name).write_text(statements)


def configuration_of(stack: Stack, function: str) -> dict[str, Any]:
    """Return that of the version which the alias names, the one that records go to."""
    client = stack.client("lambda")
    (mapping,) = client.list_event_source_mappings(FunctionName=f"{function}:live")["EventSourceMappings"]
    assert mapping["FunctionArn"].endswith(f"{function}:live")
    configuration = client.get_function_configuration(FunctionName=function, Qualifier="live")
    return {name: value for name, value in configuration.items() if name != "ResponseMetadata"}
