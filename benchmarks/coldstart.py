"""`python -m benchmarks.coldstart`, part of `make bench`: starts the built packages under AWS's runtime client.

Each start is a fresh process that writes no bytecode, as in Lambda, where `/var/task` and `/opt` are read-only. The
times begin with the process: what Lambda does before, and TLS, come on top for every function alike.
"""

import argparse
import compileall
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import files
from pathlib import Path
from typing import Any

from benchmarks.packages import Package, build_baseline, build_service
from benchmarks.throughput import AWS_LIKE, environment_of, running_endpoint
from benchmarks.worker import batch_of
from event_service.config import DatabaseSettings
from event_service.migrate.schema import migrate
from local.progress import step, table
from local.stack import Stack, create_database, running_postgres, stop_when_terminated

_READY_SHARE = 0.40  # of the baseline's time to ready, at most
_ZIPPED_MIB = 15
STARTS = 11
_BATCH = 10
_SECONDS = 60
_RUNTIME_CLIENT = ("awslambdaric", "simplejson", "snapshot-restore-py")
_ISOLATED = (sys.executable, "-I", "-S", "-B")
Start = tuple[float, float]  # the seconds from the process's start: until it asks for an event, until its answer


def main() -> int:
    """Measure cold starts; return the exit status, which is 1 below a floor."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.coldstart", description=__doc__)
    parser.add_argument("--starts", type=int, default=STARTS, help="of each package; medians count (default: 11)")
    arguments = parser.parse_args()
    stop_when_terminated()
    try:
        with tempfile.TemporaryDirectory(prefix="event-service-") as directory:
            return measure(Path(directory), arguments.starts, step)
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return 130


def measure(directory: Path, starts: int, progress: Callable[[str], None]) -> int:
    """Build, start each package so many times in turn, print what came of it; return 1 below a floor."""
    progress("building the service for this machine and for AWS, and the baseline (sam build)")
    service = build_service(directory / "service", for_this_machine=True)
    deployed = build_service(directory / "deployed", for_this_machine=False)
    baseline = build_baseline(directory / "baseline")
    untraced = Package(baseline.folders, "benchmarks.baseline.handler.lambda_handler")
    packages = {"service": service, "baseline": baseline, "baseline, no X-Ray SDK": untraced}
    client = _runtime_client(directory / "runtime")
    measured: dict[str, list[Start]] = {name: [] for name in packages}
    with running_postgres(directory / "postgres") as postgres:
        stack = Stack(postgres.url, "")
        migrate(DatabaseSettings(url=create_database(stack, "bench")))
        with running_endpoint(AWS_LIKE, postgres.url) as ports:
            environment = environment_of(stack, ports, "bench")
            for number in range(starts):
                progress(f"cold start {number + 1} of {starts}")
                for place, (name, package) in enumerate(packages.items()):
                    records = batch_of(_BATCH, number * len(packages) + place)
                    measured[name].append(_start(package, client, environment, records))
    medians = {name: (statistics.median(a), statistics.median(b)) for name, a, b in _columns(measured)}
    sizes = {name: (package.zipped_mib(directory), package.unzipped_mib()) for name, package in packages.items()}
    _show(medians, sizes, measured)
    _show_imports(service)
    return _show_floors(medians, deployed, deployed.zipped_mib(directory))


def _columns(measured: dict[str, list[Start]]) -> list[tuple[str, list[float], list[float]]]:
    return [(name, [ready for ready, _ in runs], [answered for _, answered in runs]) for name, runs in measured.items()]


def _show(medians: dict[str, Start], sizes: dict[str, tuple[float, float]], measured: dict[str, list[Start]]) -> None:
    rows = []
    for name, ready, answered in _columns(measured):
        share = medians[name][0] / medians["baseline"][0]
        spread = f"{min(ready) * 1000:,.0f}-{max(ready) * 1000:,.0f}"
        both = f"{medians[name][0] * 1000:,.0f}", spread, f"{statistics.median(answered) * 1000:,.0f}"
        rows.append((name, *both, f"{share:.2f}", *(f"{size:.1f}" for size in sizes[name])))
    heads = ("", "ready ms", "least-most", f"first batch of {_BATCH} answered ms", "ready / baseline", "zip MiB", "MiB")
    table("Cold start under awslambdaric, this machine's Python, medians", heads, rows)


def _show_floors(medians: dict[str, Start], deployed: Package, zipped: float) -> int:
    share = medians["service"][0] / medians["baseline"][0]
    bytecode = "with bytecode" if deployed.has_bytecode() else "without bytecode: its Python is not on this machine"
    lines = [
        ("time to ready, share of the baseline's", f"{_READY_SHARE:.2f}", f"{share:.2f}", share <= _READY_SHARE),
        (
            f"layer and function zipped, as deployed ({bytecode})",
            f"{_ZIPPED_MIB} MiB",
            f"{zipped:.1f} MiB",
            zipped <= _ZIPPED_MIB,
        ),
    ]
    rows = [(*line[:-1], "met" if line[-1] else "MISSED") for line in lines]
    table("Floors of the cold start", ("what", "at most", "measured", ""), rows)
    return 0 if all(line[-1] for line in lines) else 1


def _start(package: Package, client: Path, environment: dict[str, str], records: list[dict[str, Any]]) -> Start:
    """Start a package under the runtime interface client and give it one batch.

    The client fetches events from an HTTP API: https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
    """
    runtime = _Runtime({"Records": records})
    path = [*map(str, package.folders), str(client)]
    code = (
        f"import sys; sys.path[:0] = {path!r}; from awslambdaric.__main__ import main; main(['', {package.handler!r}])"
    )
    variables = {
        "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{runtime.server_port}",
        "AWS_LAMBDA_FUNCTION_NAME": "benchmark",
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
        "LAMBDA_TASK_ROOT": str(package.folders[0]),
        "_HANDLER": package.handler,
        "PATH": os.environ["PATH"],
    }
    threading.Thread(target=runtime.serve_forever, daemon=True).start()
    started = time.perf_counter()
    with subprocess.Popen([*_ISOLATED, "-c", code], env=environment | variables, stdout=subprocess.DEVNULL) as process:
        try:
            in_time = runtime.ended.wait(_SECONDS)
        finally:
            process.kill()
            runtime.shutdown()
            runtime.server_close()
    if not in_time or runtime.answer != {"batchItemFailures": []}:
        raise RuntimeError(f"{package.handler} answered {runtime.answer}")
    return runtime.ready - started, runtime.answered - started


class _Runtime(ThreadingHTTPServer):
    """A runtime API with one event to give; notes when it is fetched and answered."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, event: dict[str, Any]) -> None:
        super().__init__(("127.0.0.1", 0), _Api)
        self.event = json.dumps(event).encode()
        self.ready = self.answered = 0.0
        self.answer: Any = None
        self.ended = threading.Event()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Take no notice: the process is ended while it waits for another event."""


class _Api(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Runtime

    def do_GET(self) -> None:
        """Give the event, once."""
        now = time.perf_counter()
        if self.server.ready:
            self.server.ended.wait(_SECONDS)
            return
        self.server.ready = now
        self.send_response(200)
        headers = {
            "Lambda-Runtime-Aws-Request-Id": "request",
            "Lambda-Runtime-Deadline-Ms": str(int((time.time() + _SECONDS) * 1000)),
            "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:us-east-1:000000000000:function:benchmark",
            "Lambda-Runtime-Trace-Id": "Root=1-65a0b0c0-000000000000000000000000;Parent=0000000000000000;Sampled=0",
            "Content-Type": "application/json",
            "Content-Length": str(len(self.server.event)),
        }
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(self.server.event)

    def do_POST(self) -> None:
        """Take the answer, or the error."""
        self.server.answer = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or b"null")
        self.server.answered = time.perf_counter()
        self.send_response(202)
        self.send_header("Content-Length", "0")
        self.end_headers()
        self.server.ended.set()

    def log_message(self, *_: Any) -> None:
        """Stay quiet."""


def _runtime_client(directory: Path) -> Path:
    """Copy the runtime interface client, compiled as Lambda has it, to where nothing else is."""
    for package in _RUNTIME_CLIENT:
        paths = [file for file in files(package) or [] if file.parts[0] != ".." and "__pycache__" not in file.parts]
        for file in paths:
            target = directory / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(str(file.locate()), target)
    compileall.compile_dir(directory, quiet=1)
    return directory


def _show_imports(package: Package) -> None:
    """Print where the service's import goes: https://docs.python.org/3/using/cmdline.html#cmdoption-X ."""
    path = [str(folder) for folder in package.folders]
    module = package.handler.rpartition(".")[0]
    code = f"import sys; sys.path[:0] = {path!r}; import {module}"
    command = [*_ISOLATED, "-X", "importtime", "-c", code]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    modules: Counter[str] = Counter()
    packages: Counter[str] = Counter()
    for line in printed.splitlines()[1:]:
        own, _, name = (part.strip() for part in line.removeprefix("import time:").split("|"))
        modules[name] += int(own)
        top = name.partition(".")[0]
        packages["standard library" if top in sys.stdlib_module_names else top] += int(own)
    total = sum(packages.values())
    heads = ("package", "ms", "share")
    table(
        f"Where the {total / 1000:.0f} ms of the service's import go (-X importtime, which itself slows it)",
        heads,
        [(name, f"{own / 1000:.1f}", f"{own / total:.0%}") for name, own in packages.most_common(10)],
    )
    table("Its slowest modules, each without what it imports", heads[:2], _milliseconds(modules, 12))


def _milliseconds(times: Counter[str], number: int) -> list[tuple[str, str]]:
    return [(name, f"{own / 1000:.1f}") for name, own in times.most_common(number)]


if __name__ == "__main__":
    sys.exit(main())
