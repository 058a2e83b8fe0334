"""The operations function: it runs commands where the data is, and the migrations of a deployment.

A person's machine cannot reach the database: commands with `--stack NAME` invoke this function from there (see
`event_service.remote`). Everyone who may invoke it may run these commands.
"""

import contextlib
import io
import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from event_service.console import PAUSED
from event_service.deadline import Deadline
from event_service.forget.__main__ import main as forget
from event_service.migrate.__main__ import main as migrate
from event_service.operations import deployment
from event_service.rebuild.__main__ import main as rebuild

_COMMANDS: Final[Mapping[str, Callable[[Sequence[str]], int]]] = {
    "forget": forget,
    "migrate": migrate,
    "rebuild": rebuild,
}
# A migration is one transaction: it cannot be stopped and resumed. Lambda has no shared memory for the semaphores that
# processes need: https://aws.amazon.com/blogs/compute/parallel-processing-in-python-with-aws-lambda/
_OPTIONS: Final[Mapping[str, Sequence[str]]] = {"forget": (), "rebuild": ("--workers=1",)}
_RESERVE_SECONDS: Final = 20  # to finish the current page, and to answer
_RESERVE_SHARE: Final = 0.3
_REFUSED: Final = 2
# A response has at most 6 MB, and a character may take 6 bytes of JSON.
_MAX_CHARACTERS: Final = 400_000


def lambda_handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Run a command and return how it went, or answer a custom resource of CloudFormation (`deployment.respond`).

    The event of a command is `{"command": ["rebuild", "--verify"], "seconds": 60}`. It stops after `seconds`, if
    given, and before this invocation must end; the same command resumes it. The log names the command, but neither its
    arguments nor its output: both may name a person.

    Returns:
        `status`, the exit status of the command; `output` and `errors`, what it printed; `done`, False if it must be
        resumed.

    """
    deadline = Deadline.after(context.get_remaining_time_in_millis() / 1000)
    if "RequestType" in event:
        return deployment.respond(event, context, deadline)
    started = time.monotonic()
    command = event.get("command")
    if not (isinstance(command, list) and command and command[0] in _COMMANDS):
        return _answer(_REFUSED, "", f"operations: `command` is none of {', '.join(_COMMANDS)}\n")
    name, *arguments = map(str, command)
    if any(argument.startswith("--stack") for argument in arguments):
        return _answer(_REFUSED, "", "operations: --stack is for the machine that invokes this function\n")
    seconds = _seconds(deadline, event.get("seconds"))
    answer = _run(name, [*arguments, *(_OPTIONS[name]), f"--seconds={seconds}"] if name in _OPTIONS else arguments)
    print(json.dumps({"command": name, "status": answer["status"], "seconds": round(time.monotonic() - started, 1)}))
    return answer


def _seconds(deadline: Deadline, limit: object) -> int:
    remaining = deadline.remaining()
    available = remaining - min(_RESERVE_SECONDS, remaining * _RESERVE_SHARE)
    return max(0, int(min(available, limit) if isinstance(limit, int | float) else available))


def _run(name: str, arguments: Sequence[str]) -> dict[str, Any]:
    output, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        try:
            status = _COMMANDS[name](arguments)
        except SystemExit as exc:  # of the parser: --help, or an option that does not exist
            status = exc.code if isinstance(exc.code, int) else _REFUSED
    return _answer(status, output.getvalue(), errors.getvalue())


def _answer(status: int, output: str, errors: str) -> dict[str, Any]:
    return {"status": status, "output": _clipped(output), "errors": _clipped(errors), "done": status != PAUSED}


def _clipped(text: str) -> str:
    if (left_out := len(text) - _MAX_CHARACTERS) <= 0:
        return text
    half = _MAX_CHARACTERS // 2
    return f"{text[:half]}\n… {left_out:,} characters were left out …\n{text[-half:]}"
