"""Runs a command next to the data: the stack's operations function is invoked until the command has ended.

A person's machine cannot reach the database. All it needs is the right to invoke the function, whose role has the
other rights.
"""

import json
import sys
import time
from collections.abc import Sequence
from typing import Any, Final

from botocore.exceptions import ClientError, ConnectionError, HTTPClientError  # noqa: A004  # botocore's

from event_service.adapters.batching import is_transient
from event_service.adapters.upkeep import BUSY
from event_service.cli import make_patient_client, stack_output
from event_service.errors import CommandError, Unavailable

_OUTPUT: Final = "OperationsFunctionName"
_FIRST_SECONDS: Final = 5
_GRACE_SECONDS: Final = 60  # for a cold start, and to finish the current page
_ATTEMPTS: Final = 8  # without an answer: with their pauses, about a minute and a half
_LONGEST_PAUSE_SECONDS: Final = 20
_BUSY: Final = (409, 429)  # the function is being updated, or runs already


def drive(stack: str, command: Sequence[str], *, begin: Sequence[str] = (), longest: float = 60) -> int:
    """Run a command in the operations function of a stack, show its output, and return its exit status.

    An invocation lasts for at most `longest` seconds, the first ones less, and the next one resumes its work. `begin`
    are options for the first invocation only. It does little else, because it may be repeated if its answer is lost.
    While another rebuild or erasure is running, the invocation is repeated for as long as that one may last: it may be
    an earlier one whose answer was lost, or whose caller was interrupted.

    Raises:
        CommandError: the stack has no operations function, or the function fails.
        botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError: it cannot be invoked.

    """
    function = stack_output(stack, _OUTPUT)
    client = make_patient_client("lambda", read_seconds=longest + _GRACE_SECONDS, attempts=1)
    options, seconds = [*begin], 0 if begin else min(_FIRST_SECONDS, longest)
    waited_since: float | None = None
    while True:
        answer = _ask(client, function, {"command": [*command, *options], "seconds": seconds})
        if BUSY in answer["errors"]:
            waited_since = waited_since or time.monotonic()
            if time.monotonic() < waited_since + longest + _GRACE_SECONDS:
                time.sleep(2)
                continue
        waited_since = None
        print(answer["output"], end="", flush=True)
        print(answer["errors"], end="", file=sys.stderr, flush=True)
        if answer["done"]:
            return int(answer["status"])
        options, seconds = [], min(2 * seconds or _FIRST_SECONDS, longest)


def _ask(client: Any, function: str, request: dict[str, Any]) -> Any:
    """Invoke the function and return its answer; again if there is none."""
    failures = 0
    while True:
        try:
            return _invoke(client, function, request)
        except (ClientError, ConnectionError, HTTPClientError, Unavailable) as exc:
            failures += 1
            if failures == _ATTEMPTS or (isinstance(exc, ClientError) and not _may_pass(exc)):
                raise
            print(f"{request['command'][0]}: no answer, asking again: {exc}", file=sys.stderr)
            time.sleep(min(2**failures, _LONGEST_PAUSE_SECONDS))


def _invoke(client: Any, function: str, request: dict[str, Any]) -> Any:
    response = client.invoke(FunctionName=function, Payload=json.dumps(request).encode())
    answer = json.loads(response["Payload"].read())
    if "FunctionError" in response:  # killed by a limit, or it does not start
        raise Unavailable("internal", f"{answer.get('errorType')}: {answer.get('errorMessage')}")
    if not isinstance(answer, dict) or not {"status", "output", "errors", "done"} <= answer.keys():
        raise CommandError(f"the function {function} is of another version: deploy this one")
    return answer


def _may_pass(refusal: ClientError) -> bool:
    return is_transient(refusal) or refusal.response.get("ResponseMetadata", {}).get("HTTPStatusCode") in _BUSY
