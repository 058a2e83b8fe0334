"""`make invoke`: runs the built function under AWS's runtime interface client, against the embedded stack."""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import files
from pathlib import Path
from typing import Any

from local.deployment import BUILD, Deployment, DeploymentError, deployed_stack
from local.progress import step
from local.serve import function_environment
from local.stack import Stack, stop_when_terminated
from local.state import running

RUNTIME_CLIENT = ("awslambdaric", "simplejson", "snapshot-restore-py")
_FUNCTION_SECONDS = 30


@dataclass(frozen=True)
class Package:
    """A built function: its folders in the order of the runtime's path, and its handler."""

    folders: tuple[Path, ...]
    handler: str


@dataclass
class Invocation:
    """One event, and the function's answer or its error."""

    event: bytes
    seconds: float
    answer: Any = None
    error: Any = None
    started: float = field(default_factory=time.time)  # seconds since the epoch
    deadline: float | None = None  # the same; set when the function fetches the event
    answered: float | None = None  # the same
    ended: threading.Event = field(default_factory=threading.Event)

    def is_overdue(self) -> bool:
        """Return whether the function has used up its time; its start may take the same time again."""
        return time.time() > (self.deadline or self.started + self.seconds)


def main(arguments: list[str]) -> int:
    """Invoke the function with the event of a file; return 0 unless it failed."""
    stop_when_terminated()
    if len(arguments) != 1 or not Path(arguments[0]).is_file():
        print("usage: make invoke EVENT=events/reminder-created.json", file=sys.stderr)
        return 2
    try:
        with _service() as (stack, deployment):
            step(f"invoking the built function with {arguments[0]}\n")
            invocation = invoke(Path(arguments[0]).read_bytes(), function_environment(stack, deployment))
    except DeploymentError as exc:
        print(exc, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print("\nthe function failed:" if invocation.error else "\nthe function's answer:")
    print(json.dumps(invocation.error or invocation.answer, indent=2))
    return 1 if invocation.error else 0


def invoke(
    event: bytes, environment: dict[str, str], build: Path = BUILD, seconds: float = _FUNCTION_SECONDS
) -> Invocation:
    """Run the built queue function once in a separate process; its log goes to standard output."""
    return run(service_package(build), Invocation(event, seconds), environment)


def service_package(build: Path) -> Package:
    """Return the queue function in a folder that `sam build` made."""
    folders = (build / "EventServiceFunction", build / "DependenciesLayer" / "python")
    return Package(folders, "event_service.handler.lambda_handler")


def run(package: Package, invocation: Invocation, environment: dict[str, str], output: int | None = None) -> Invocation:
    """Run a package for one event, for its seconds at most; fill in and return the invocation.

    The runtime interface client fetches events from an HTTP API:
    https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
    """
    server = _Server(("127.0.0.1", 0), _api(invocation))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as directory:
        api = {"AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{server.server_port}"}
        _link_runtime_client(Path(directory))
        invocation.started = time.time()
        process = _start(package, Path(directory), environment | api, output)
        try:
            while process.poll() is None and not invocation.ended.wait(0.1) and not invocation.is_overdue():
                pass
            if process.returncode is not None and not invocation.ended.is_set():
                invocation.error = {"errorMessage": f"the runtime ended with status {process.returncode}"}
            elif not invocation.ended.is_set():
                invocation.error = {"errorMessage": f"the function timed out after {invocation.seconds} seconds"}
        finally:
            process.kill()
            process.wait()
            server.shutdown()
            server.server_close()
    return invocation


def _link_runtime_client(directory: Path) -> None:
    for package in RUNTIME_CLIENT:
        for name in {file.parts[0] for file in files(package) or [] if file.parts[0] != ".."}:
            (directory / name).symlink_to(Path(str((files(package) or [])[0].locate())).parents[1] / name)


def _start(package: Package, client: Path, environment: dict[str, str], output: int | None) -> subprocess.Popen[bytes]:
    """Start the runtime with Lambda's path, which is read-only there: the package and the client, nothing else."""
    path = [*map(str, package.folders), str(client)]
    main = f"from awslambdaric.__main__ import main; main(['', {package.handler!r}])"
    variables = {
        "AWS_LAMBDA_FUNCTION_NAME": "EventServiceFunction",
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
        "AWS_LAMBDA_LOG_GROUP_NAME": "local",
        "AWS_LAMBDA_LOG_STREAM_NAME": "local",
        "LAMBDA_TASK_ROOT": str(package.folders[0]),
        "_HANDLER": package.handler,
    }
    inherited = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
    return subprocess.Popen(
        [sys.executable, "-I", "-S", "-B", "-c", f"import sys; sys.path[:0] = {path!r}; {main}"],
        cwd=package.folders[0],
        env=inherited | variables | environment,
        stdout=output,
    )


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore the error: the runtime is killed while it waits for another event."""


def _api(invocation: Invocation) -> type[BaseHTTPRequestHandler]:
    """Return the handler of a runtime API with a single event."""

    class Api(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            """Send the event; hold further requests until the process is killed."""
            if invocation.deadline is not None:
                invocation.ended.wait()
                return
            invocation.deadline = time.time() + invocation.seconds
            self._send(
                200,
                invocation.event,
                {
                    "Content-Type": "application/json",
                    "Lambda-Runtime-Aws-Request-Id": str(uuid.uuid4()),
                    "Lambda-Runtime-Deadline-Ms": str(int(invocation.deadline * 1000)),
                    "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:us-east-1:000000000000:function:local",
                    "Lambda-Runtime-Trace-Id": f"Root=1-65a0b0c0-{'0' * 24};Parent={'0' * 16};Sampled=0",
                },
            )

        def do_POST(self) -> None:
            """Receive the answer, or the error of the invocation or of the initialisation."""
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or b"null")
            if self.path.endswith("/response"):
                invocation.answer = body
            else:
                invocation.error = body
            invocation.answered = time.time()
            self._send(202, b"{}", {})
            invocation.ended.set()

        def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Log nothing: only the function's log is of interest."""

    return Api


@contextmanager
def _service() -> Iterator[tuple[Stack, Deployment]]:
    """Use the stack of a running `make local`, or start one for this invocation."""
    if state := running():
        yield state
        return
    with (
        tempfile.TemporaryDirectory(prefix="event-service-") as directory,
        deployed_stack(Path(directory), {}, step) as new,
    ):
        yield new


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
