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


def test_a_stack_is_created_updated_and_deleted(stack: Stack, built: Path, tmp_path: Path) -> None:
    """A failing migration fails the deployment, an update runs what is new, the event store outlives the stack."""
    url = create_database(stack, NAME)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE notifications ()")
        with pytest.raises(DeploymentError, match="42P07: relation"):
            deploy(stack, {"DatabaseUrl": url}, name="failing", directory=built)
        connection.execute("DROP TABLE notifications")

    deployment = deploy(stack, {"DatabaseUrl": url}, name=NAME, directory=built)
    first = configuration_of(stack, deployment["EventServiceFunctionName"])
    assert first["Runtime"] == f"python{sys.version_info.major}.{sys.version_info.minor}"
    assert first["Architectures"] == [{"aarch64": "arm64"}.get(platform.machine(), platform.machine())]

    release = shutil.copytree(built, tmp_path / "release")
    add_migration(release, "9001_widgets.sql", "CREATE TABLE widgets (id integer);")
    deploy(stack, {"DatabaseUrl": url, "Environment": "prod"}, name=NAME, directory=release)
    updated = configuration_of(stack, deployment["EventServiceFunctionName"])
    assert updated["CodeSha256"] != first["CodeSha256"]
    assert updated["Environment"]["Variables"]["POWERTOOLS_LOG_LEVEL"] == "INFO"
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT count(*) FROM widgets").fetchone() == (0,)

    add_migration(release, "9002_gadgets.sql", "CREATE TABLE gadgets (); SELECT 1 / 0;")
    with pytest.raises(DeploymentError, match="22012: division by"):
        deploy(stack, {"DatabaseUrl": url}, name=NAME, directory=release)
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT to_regclass('gadgets')").fetchone() == (None,)
    left = configuration_of(stack, deployment["EventServiceFunctionName"])
    assert (left["CodeSha256"], left["Environment"]) == (updated["CodeSha256"], updated["Environment"])

    cloudformation = stack.client("cloudformation")
    cloudformation.delete_stack(StackName=NAME)
    cloudformation.get_waiter("stack_delete_complete").wait(StackName=NAME)
    assert stack.client("dynamodb").describe_table(TableName=deployment["EventStoreTableName"])
    with pytest.raises(ClientError, match="ResourceNotFoundException"):
        stack.client("lambda").get_function(FunctionName=deployment["EventServiceFunctionName"])


def add_migration(release: Path, name: str, statements: str) -> None:
    """Add a migration to what was built, as a later release would have it."""
    for function in ("OperationsFunction", "EventServiceFunction"):
        (release / function / "event_service" / "migrations" / name).write_text(statements)


def configuration_of(stack: Stack, function: str) -> dict[str, Any]:
    return dict(stack.client("lambda").get_function_configuration(FunctionName=function))
