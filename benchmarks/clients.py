"""`python -m benchmarks.clients [TREE ...]`: the queue function's CPU time and cold start by kind of AWS client.

A tree is another checkout to compare with. docs/clients.md has the figures.
"""

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
_ROUNDS, _BATCHES, _STARTS_PER_ROUND = 5, {10: 60, 100: 20}, 3
_ROOT = Path(__file__).parents[1]
_INIT = "import sys; sys.path[:0] = {}; import time, {}; print(time.process_time())"


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
    from benchmarks import coldstart, throughput, worker  # noqa: PLC0415  # no part of a cold start
    from event_service.config import DatabaseSettings  # noqa: PLC0415
    from event_service.migrate.schema import migrate  # noqa: PLC0415
    from local.deployment import build  # noqa: PLC0415
    from local.invoke import Package, service_package  # noqa: PLC0415
    from local.progress import table  # noqa: PLC0415
    from local.stack import Stack, create_database, running_postgres  # noqa: PLC0415

    trees = dict.fromkeys(_KINDS, _ROOT) | {tree: Path(tree).resolve() for tree in sys.argv[1:]}
    figures: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as directory, running_postgres(Path(directory, "db")) as postgres:
        build(Path(directory, "service"))
        layer = service_package(Path(directory, "service")).folders[1]
        coldstart._compile_runtime_client()  # noqa: SLF001
        stack = Stack(postgres.url, "")
        migrate(DatabaseSettings(url=create_database(stack, "migrated")))
        with throughput.running_endpoint(throughput.NO_DELAYS, postgres.url) as ports:
            for number, (name, tree) in itertools.product(range(_ROUNDS), trees.items()):
                create_database(stack, "bench", "migrated")
                handler = "benchmarks.clients" if name in _KINDS else "event_service.handler"
                environment = throughput.environment_of(stack, ports, "bench") | {"BENCHMARK_CLIENTS": name}
                # The layer has no awscrt, with which botocore's clients would sign.
                environment["BOTO_DISABLE_CRT"] = "true"
                for size, batches in _BATCHES.items():
                    job = [sys.executable, "-m", "benchmarks.worker", handler, str(size), str(batches)]
                    done = subprocess.run(job, cwd=tree, env=environment, stdout=subprocess.PIPE, check=True)
                    cpu = json.loads(done.stdout)["cpu_seconds"] / size / batches
                    figures[name, f"CPU ms/event, batch {size}"].append(cpu)
                package = Package((tree, layer), f"{handler}.lambda_handler")
                # On AWS endpoints are looked up, which takes time, too.
                on_aws = environment | {"AWS_ENDPOINT_URL": "", "AWS_LAMBDA_RUNTIME_API": "none"}
                init = [sys.executable, "-ISB", "-c", _INIT.format([str(tree), str(layer)], handler)]
                for start in range(_STARTS_PER_ROUND):
                    done = subprocess.run(init, env=on_aws, stdout=subprocess.PIPE, check=True)
                    figures[name, "init CPU ms"].append(float(done.stdout))
                    records = worker.batch_of(10, 1000 * number + start)
                    answered = coldstart._start(package, environment, records)[1]  # noqa: SLF001
                    figures[name, "start to first 10 answered, ms"].append(answered)
    columns = [*dict.fromkeys(column for _, column in figures)]
    rows = [(name, *(f"{min(figures[name, column]) * 1000:.2f}" for column in columns)) for name in trees]
    table("The queue function by kind of AWS client", ("", *columns), rows)


if __name__ == "__main__":
    main()
