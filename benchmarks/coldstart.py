"""Cold starts: the built packages, each started afresh under AWS's runtime client and given one batch.

The processes write no bytecode, as in Lambda, where `/var/task` and `/opt` are read-only. The times begin with the
process; what Lambda does before that, and TLS, comes on top for every function alike.
"""

import compileall
import json
import statistics
import subprocess
from collections.abc import Callable
from importlib.metadata import files
from pathlib import Path
from typing import Any

from benchmarks.packages import build_baseline, files_of, sam_build, zipped_mib
from benchmarks.throughput import AWS_LIKE, Floor, environment_of, running_endpoint
from benchmarks.worker import batch_of
from event_service.config import DatabaseSettings
from event_service.migrate.schema import migrate
from local.deployment import ROOT, build
from local.invoke import RUNTIME_CLIENT, Invocation, Package, run, service_package
from local.progress import table
from local.stack import Stack, create_database, running_postgres

STARTS = 11
_READY_SHARE = 0.37  # of the baseline's time to ready, at most
_ZIPPED_MIB = 15
_BATCH = 10
_SECONDS = 60
Start = tuple[float, float]  # seconds from the process's start until it asks for an event, and until its answer


def measure(directory: Path, starts: int, progress: Callable[[str], None]) -> list[Floor]:
    """Build, start each package `starts` times in turn, print the medians, and return the floors."""
    progress("building the service for this machine and for AWS, and the baseline (sam build)")
    build(directory / "service")
    sam_build(ROOT, directory / "deployed")
    baseline = build_baseline(directory / "baseline")
    packages = {
        "service": service_package(directory / "service"),
        "baseline": baseline,
        "baseline, no X-Ray SDK": Package(baseline.folders, "benchmarks.baseline.handler.lambda_handler"),
    }
    _compile_runtime_client()
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
                    measured[name].append(_start(package, environment, records))
    ready = {name: statistics.median(start for start, _ in runs) for name, runs in measured.items()}
    _show(packages, measured, ready, directory)
    deployed = service_package(directory / "deployed")
    share, zipped = ready["service"] / ready["baseline"], zipped_mib(deployed, directory)
    compiled = any(path.suffix == ".pyc" for path in files_of(deployed))
    bytecode = "with bytecode" if compiled else "without bytecode: its Python is not on this machine"
    return [
        Floor(
            "cold start, share of the baseline's", f"at most {_READY_SHARE:.2f}", f"{share:.2f}", share <= _READY_SHARE
        ),
        Floor(f"package, {bytecode}", f"at most {_ZIPPED_MIB} MiB", f"{zipped:.1f} MiB", zipped <= _ZIPPED_MIB),
    ]


def _start(package: Package, environment: dict[str, str], records: list[dict[str, Any]]) -> Start:
    event = json.dumps({"Records": records}).encode()
    invocation = run(package, Invocation(event, _SECONDS), environment, subprocess.DEVNULL)
    if invocation.answer != {"batchItemFailures": []}:
        raise RuntimeError(f"{package.handler} answered {invocation.error or invocation.answer}")
    assert invocation.deadline is not None
    assert invocation.answered is not None
    ready = invocation.deadline - _SECONDS - invocation.started
    return ready, invocation.answered - invocation.started


def _compile_runtime_client() -> None:
    """Compile the runtime interface client, as it is in Lambda's image."""
    for package in RUNTIME_CLIENT:
        for file in files(package) or []:
            if file.suffix == ".py":
                compileall.compile_file(str(file.locate()), quiet=1)


def _show(
    packages: dict[str, Package], measured: dict[str, list[Start]], ready: dict[str, float], scratch: Path
) -> None:
    rows = []
    for name, starts in measured.items():
        times = [start * 1000 for start, _ in starts]
        answered = statistics.median(answer for _, answer in starts) * 1000
        unzipped = sum(path.stat().st_size for path in files_of(packages[name])) / 2**20
        zipped = zipped_mib(packages[name], scratch)
        cells = (f"{ready[name] * 1000:,.0f}", f"{min(times):,.0f}-{max(times):,.0f}", f"{answered:,.0f}")
        rows.append((name, *cells, f"{ready[name] / ready['baseline']:.2f}", f"{zipped:.1f}", f"{unzipped:.1f}"))
    heads = ("", "ready ms", "range", f"first batch of {_BATCH} answered ms", "ready / baseline", "zip MiB", "MiB")
    table("Cold start under awslambdaric, this machine's Python, medians", heads, rows)
