"""The local commands when something goes wrong: nothing stays behind, and what went wrong is said."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from local import state
from local.api import served_api
from local.deployment import ROOT, Deployment
from local.invoke import Invocation, invoke
from local.stack import Stack, free_port, running_postgres

_WAIT_SECONDS = 30
_RUN_A_STACK = """
import signal, sys
from pathlib import Path
from local.stack import running_stack, stop_when_terminated

signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup it is ignored
stop_when_terminated()
with running_stack(Path(sys.argv[1]), lambda text: print(text, flush=True)):
    print("up", flush=True)
    signal.pause()
"""


@pytest.fixture
def server_directory(server_directories: Callable[[], Path]) -> Path:
    """A directory for a stack."""
    return server_directories()


def started_with(mark: str) -> list[str]:
    """Return the commands of the processes that have this in their environment, which they inherit."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdigit() and mark.encode() in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_text().replace("\0", " "))
        except OSError:  # it has ended, or is another user's
            continue
    return found


@pytest.mark.parametrize(
    ("number", "moment"),
    [
        (signal.SIGINT, "up"),
        (signal.SIGHUP, "up"),
        (signal.SIGTERM, "up"),
        (signal.SIGTERM, "starting PostgreSQL"),
        (signal.SIGTERM, "starting the AWS emulator"),
    ],
)
def test_a_signal_leaves_nothing_running(server_directory: Path, number: signal.Signals, moment: str) -> None:
    """Everything that the command started has ended when the command has, whenever the signal comes."""
    mark = f"STACK_OF_A_TEST={server_directory}"
    name, _, value = mark.partition("=")
    command = [sys.executable, "-c", _RUN_A_STACK, str(server_directory)]
    with subprocess.Popen(
        command, cwd=ROOT, env=os.environ | {name: value}, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout
        assert moment in (line.strip() for line in process.stdout)
        assert started_with(mark)
        process.send_signal(number)
        process.send_signal(number)
        assert process.wait(_WAIT_SECONDS)
    assert started_with(mark) == []


def test_a_start_that_is_broken_off_leaves_no_postgresql(server_directory: Path) -> None:
    """Not even where the signal comes while pg_ctl is waiting for the server, which can then not be found yet."""
    mark = f"STACK_OF_A_TEST={server_directory}"
    name, _, value = mark.partition("=")
    command = [sys.executable, "-c", _RUN_A_STACK, str(server_directory)]
    with subprocess.Popen(
        command, cwd=ROOT, env=os.environ | {name: value}, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        give_up = time.monotonic() + _WAIT_SECONDS
        while not any("pg_ctl" in started for started in started_with(mark)):
            assert time.monotonic() < give_up
        process.send_signal(signal.SIGTERM)
        assert process.wait(_WAIT_SECONDS)
    assert started_with(mark) == []


def test_the_stack_runs_in_a_long_path_with_a_space(tmp_path: Path) -> None:
    """Longer than a Unix socket's path may be, as a checkout or a Mac's temporary folder can be."""
    directory = tmp_path / "with space" / ("long" * 30)
    directory.mkdir(parents=True)
    with running_postgres(directory / "postgres") as postgres, psycopg.connect(postgres.url) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.usefixtures("state_file")
def test_a_leftover_state_file_is_not_taken_for_a_running_stack(stack: Stack) -> None:
    """A `make local` that was killed leaves one; only a stack that answers is used."""
    assert state.running() is None
    with state.announced(stack, Deployment({"EventTopicArn": "arn"})):
        assert state.running() == (stack, Deployment({"EventTopicArn": "arn"}))
    dead = Stack("postgresql://127.0.0.1", f"http://127.0.0.1:{free_port()}")
    with state.announced(dead, Deployment({})):
        assert state.running() is None


def invoked(build: Path, code: str, seconds: float = _WAIT_SECONDS) -> Invocation:
    """Invoke a function of this code as if it had been built."""
    package = build / "EventServiceFunction" / "event_service"
    package.mkdir(parents=True)
    (package / "handler.py").write_text(code)
    return invoke(b'{"a": 1}', {"AWS_REGION": "us-east-1"}, build, seconds)


def test_a_function_gets_the_event_and_the_context_that_lambda_gives_it(tmp_path: Path) -> None:
    """Its answer is what it returned."""
    code = (
        "def lambda_handler(event, context):\n"
        "    left = context.get_remaining_time_in_millis()\n"
        "    return [event, len(context.aws_request_id), context.invoked_function_arn[:15], 0 < left <= 30000]"
    )
    invocation = invoked(tmp_path, code)
    assert json.dumps(invocation.answer) == '[{"a": 1}, 36, "arn:aws:lambda:", true]'
    assert invocation.error is None


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("def lambda_handler(*_): raise ValueError('broken')", "broken"),
        ("raise ValueError('broken start')", "broken start"),
        ("import os\ndef lambda_handler(*_): os._exit(3)", "the runtime ended with status 3"),
        ("import time\ndef lambda_handler(*_): time.sleep(60)", "the function timed out after 3 seconds"),
        ("import time\ntime.sleep(60)", "the function timed out after 3 seconds"),
    ],
)
def test_a_function_that_fails_is_an_error(tmp_path: Path, code: str, message: str) -> None:
    """Raised, in its start or its work; ended; or without an answer when its time is over."""
    invocation = invoked(tmp_path, code, 3)
    assert invocation.error["errorMessage"] == message
    assert invocation.answer is None


def test_the_read_api_takes_another_port_where_its_own_is_taken() -> None:
    """And is not mistaken for what answers at its own."""

    def answer(event: dict[str, Any]) -> dict[str, Any]:
        return {"statusCode": 200, "multiValueHeaders": {}, "body": event["path"]}

    with served_api(answer, free_port()) as first:
        port = int(first.rpartition(":")[2])
        with served_api(answer, port) as second:
            assert second != first
            assert urllib.request.urlopen(f"{second}/event-types").read() == b"/event-types"  # noqa: S310  # our own
        with socket.create_connection(("localhost", port)):
            pass
