"""`make local`: leaves the deployed service running on the embedded stack and says how to use it."""

import json
import os
import signal
import sys
from contextlib import ExitStack
from functools import partial

from event_service.api.routes import lambda_handler
from local.api import PORT, served_api
from local.deployment import ROOT, Deployment, DeploymentError, deployed_stack
from local.progress import step
from local.stack import Stack, stop_when_terminated
from local.state import DIRECTORY, announced, running

_ENVIRONMENT_FILE = DIRECTORY / "env.json"
_HELP = """
The service is running. In another terminal:

  publish a sample event         .venv/bin/python -m local.publish events/reminder-created.json
  run the built function on one  make invoke EVENT=events/reminder-created.json
  read the event store           open {api}/docs
  look at the notifications      psql {database_url} -c 'SELECT * FROM "notification"'
  look at the event store        {aws} dynamodb scan --table-name {table}
  publish one of your own        {aws} sns publish --topic-arn {topic} \\
    --message '{{"userId": "me", "itemId": "1", "eventData": {{}}}}' \\
    --message-attributes '{{"eventType": {{"DataType": "String", "StringValue": "order:placed"}}}}'
  see the function's log         {aws} logs tail {log_group}
  with Docker                    sam build --config-env local
    sam local invoke EventServiceFunction --config-env local --docker-network host \\
      --env-vars {environment_file} --event events/reminder-created.json

The AWS CLI needs no account here, but a region and any key:
  export AWS_DEFAULT_REGION=us-east-1 AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test
Ctrl-C stops it, and its data goes with it."""


def main() -> int:
    """Serve until Ctrl-C; return the exit status."""
    stop_when_terminated()
    if running():
        print(f"`make local` is running already, with its data in {DIRECTORY.relative_to(ROOT)}/", file=sys.stderr)
        return 1
    try:
        with (
            deployed_stack(DIRECTORY, {}, step) as (stack, deployment),
            announced(stack, deployment),
            ExitStack() as running_api,
        ):
            _write_environment(stack, deployment)
            os.environ.update(function_environment(stack, deployment))
            url = running_api.enter_context(served_api(partial(lambda_handler, context=None)))
            if url != f"http://localhost:{PORT}":
                print(f"port {PORT} is taken: the read API is at {url}")
            print(
                _HELP.format(
                    api=url,
                    aws=f"aws --endpoint-url {stack.endpoint_url}",
                    database_url=stack.database_url,
                    environment_file=_ENVIRONMENT_FILE.relative_to(ROOT),
                    log_group=deployment["EventServiceLogGroupName"],
                    table=deployment["EventStoreTableName"],
                    topic=deployment["EventTopicArn"],
                ),
                flush=True,
            )
            signal.pause()
    except DeploymentError as exc:
        print(exc, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        step("stopped")
    return 0


def function_environment(stack: Stack, deployment: Deployment) -> dict[str, str]:
    """Return the environment in which the function finds the stack."""
    return stack.environment() | {
        "EVENT_STORE_TABLE": deployment["EventStoreTableName"],
        "NOTIFICATION_TOPIC_ARN": deployment["NotificationTopicArn"],
    }


def _write_environment(stack: Stack, deployment: Deployment) -> None:
    """Write the file that `sam local` takes the functions' environment from."""
    environment = function_environment(stack, deployment)
    _ENVIRONMENT_FILE.write_text(
        json.dumps(dict.fromkeys(("EventServiceFunction", "ReadApiFunction"), environment), indent=2)
    )


if __name__ == "__main__":
    sys.exit(main())
