"""`make local`: keeps the service running on the embedded stack and prints how to use it."""

import json
import os
import shlex
import signal
import sys
from contextlib import ExitStack
from functools import partial

from event_service.api.routes import lambda_handler
from event_service.api.serving import PORT
from local.api import served_api
from local.deployment import ROOT, Deployment, DeploymentError, deployed_stack
from local.progress import step
from local.stack import Stack, stop_when_terminated
from local.state import DIRECTORY, announced, running

_ENVIRONMENT_FILE = DIRECTORY / "env.json"
_SHELL_FILE = DIRECTORY / "env.sh"
_HELP = """
The service is running. In another terminal:

  publish a sample event         .venv/bin/python -m local.publish events/reminder-created.json
  publish one of your own        .venv/bin/python -m local.publish order:placed \\
    '{{"userId": "me", "itemId": "1", "eventData": {{}}}}'
  run the built function on one  make invoke EVENT=events/reminder-created.json
  look at the event store        .venv/bin/python -m local.show events
  look at the notifications      .venv/bin/python -m local.show notifications
  look at the facts              .venv/bin/python -m local.show facts
  look at the queues             .venv/bin/python -m local.show queues
  see what failed, and why       .venv/bin/python -m local.show failures
  see the function's log         .venv/bin/python -m local.show log
  point your own programs at it  . .local/env.sh

To rehearse a night's trouble (docs/operations.md):

  have an event rejected         .venv/bin/python -m local.publish reminder:created '{{"userId": '
  stop PostgreSQL for 10 minutes .venv/bin/python -m local.outage 600
  list the dead letters          . .local/env.sh; .venv/bin/python -m event_service.dead_letters list
  look at one                    .venv/bin/python -m event_service.dead_letters show MESSAGE_ID
  send the good ones back        .venv/bin/python -m event_service.dead_letters redrive --would-pass
  put the others into a file     .venv/bin/python -m event_service.dead_letters discard --all --to letters.ndjson
  publish facts left behind      .venv/bin/python -m local.sweep

In a browser, the read API:      {api}/docs
For other tools: PostgreSQL is at {database_url}
AWS is at {endpoint_url}, region us-east-1, with any key.
Ctrl-C stops everything and discards the data."""


def main() -> int:
    """Serve until Ctrl-C; return the exit status."""
    stop_when_terminated()
    if running():
        print(f"`make local` is already running, with its data in {DIRECTORY.relative_to(ROOT)}/", file=sys.stderr)
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
                    database_url=stack.database_url,
                    endpoint_url=stack.endpoint_url,
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
    """Return the environment that points the function at the stack."""
    return stack.environment() | {
        "EVENT_STORE_TABLE": deployment["EventStoreTableName"],
        "NOTIFICATION_TOPIC_ARN": deployment["NotificationTopicArn"],
        "REJECTED_TOPIC_ARN": deployment["RejectedTopicArn"],
    }


def _write_environment(stack: Stack, deployment: Deployment) -> None:
    """Write the functions' environment for `sam local --env-vars`, and that of producers and commands for a shell."""
    environment = function_environment(stack, deployment)
    exported = environment | {
        "EVENT_TOPIC_ARN": deployment["EventTopicArn"],
        "EVENT_QUEUE_URL": deployment["EventQueueUrl"],
        "DEAD_LETTER_QUEUE_URL": deployment["EventDeadLetterQueueUrl"],
    }
    _SHELL_FILE.write_text("".join(f"export {name}={shlex.quote(value)}\n" for name, value in exported.items()))
    _ENVIRONMENT_FILE.write_text(
        json.dumps(dict.fromkeys(("EventServiceFunction", "ReadApiFunction", "SweeperFunction"), environment), indent=2)
    )


if __name__ == "__main__":
    sys.exit(main())
