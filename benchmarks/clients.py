"""Measures the queue function's CPU time by kind of AWS client: `python -m benchmarks.clients` (docs/clients.md)."""

import importlib
import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any

from event_service.adapters import aws, data_plane

_KINDS = ("data plane", "botocore with hooks", "botocore")
_ROUNDS, _BATCHES = 5, {10: 60, 100: 20}
_ROOT = Path(__file__).parents[1]


def _hooked(transport: aws.Transport) -> Any:
    def encode_once(params: Any, **_: Any) -> None:
        params["body"] = data_plane.encode_form(params["body"].items())

    transport.client.meta.events.register("before-call.sns", encode_once)
    return transport.client


_kind = os.environ.get("BENCHMARK_CLIENTS", _KINDS[0])
if _kind != _KINDS[0]:
    vars(data_plane)["DynamoDb"] = vars(data_plane)["Sns"] = attrgetter("client") if _kind == "botocore" else _hooked
if _kind == "botocore with hooks":
    vars(aws)["Config"] = partial(vars(aws)["Config"], parameter_validation=False, user_agent="event-service")
if "BENCHMARK_CLIENTS" in os.environ:
    lambda_handler = importlib.import_module("event_service.handler").lambda_handler


def main() -> None:
    """Measure every kind in turn, round after round, and print the least of each figure: the rest is noise."""
    from benchmarks import throughput  # noqa: PLC0415  # the workers need none of it
    from event_service.config import DatabaseSettings  # noqa: PLC0415
    from event_service.migrate.schema import migrate  # noqa: PLC0415
    from local.progress import table  # noqa: PLC0415
    from local.stack import Stack, create_database, running_postgres  # noqa: PLC0415

    figures: defaultdict[tuple[str, int], list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as directory, running_postgres(Path(directory)) as postgres:
        stack = Stack(postgres.url, "")
        migrate(DatabaseSettings(url=create_database(stack, "migrated")))
        with throughput.running_endpoint(throughput.NO_DELAYS, postgres.url) as ports:
            for _, kind, (size, batches) in itertools.product(range(_ROUNDS), _KINDS, _BATCHES.items()):
                create_database(stack, "bench", "migrated")
                environment = throughput.environment_of(stack, ports, "bench") | {"BENCHMARK_CLIENTS": kind}
                # The layer has no awscrt, with which botocore's clients would sign.
                environment["BOTO_DISABLE_CRT"] = "true"
                job = [sys.executable, "-m", "benchmarks.worker", "benchmarks.clients", str(size), str(batches)]
                done = subprocess.run(job, cwd=_ROOT, env=environment, stdout=subprocess.PIPE, check=True)
                figures[kind, size].append(json.loads(done.stdout)["cpu_seconds"] / size / batches)
    columns = ("", *(f"CPU ms/event, batch {size}" for size in _BATCHES))
    rows = [(kind, *(f"{min(figures[kind, size]) * 1000:.2f}" for size in _BATCHES)) for kind in _KINDS]
    table("The queue function by kind of AWS client", columns, rows)


if __name__ == "__main__":
    main()
