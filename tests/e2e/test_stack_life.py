import psycopg
import pytest
from botocore.exceptions import ClientError

from local.deployment import DeploymentError, build, deploy
from local.stack import Stack, create_database

NAME = "life"


def test_a_stack_is_created_updated_and_deleted(stack: Stack) -> None:
    """A failing migration fails the deployment; the event store outlives the stack."""
    url = create_database(stack, NAME)
    build()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE notifications ()")
        with pytest.raises(DeploymentError):
            deploy(stack, {"DatabaseUrl": url}, name="failing")
        events = stack.client("cloudformation").describe_stack_events(StackName="failing")["StackEvents"]
        reasons = [str(event.get("ResourceStatusReason")) for event in events]
        assert any('relation "notifications" already exists' in reason for reason in reasons)
        connection.execute("DROP TABLE notifications")

    deployment = deploy(stack, {"DatabaseUrl": url}, name=NAME)
    function = stack.client("lambda")
    deploy(stack, {"DatabaseUrl": url, "LogLevel": "DEBUG"}, name=NAME)
    configuration = function.get_function_configuration(FunctionName=deployment["EventServiceFunctionName"])
    assert configuration["Environment"]["Variables"]["POWERTOOLS_LOG_LEVEL"] == "DEBUG"

    cloudformation = stack.client("cloudformation")
    cloudformation.delete_stack(StackName=NAME)
    cloudformation.get_waiter("stack_delete_complete").wait(StackName=NAME)
    assert stack.client("dynamodb").describe_table(TableName=deployment["EventStoreTableName"])
    with pytest.raises(ClientError, match="ResourceNotFoundException"):
        function.get_function(FunctionName=deployment["EventServiceFunctionName"])
