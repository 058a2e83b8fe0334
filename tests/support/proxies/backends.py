"""The scripted proxies between the function and its backends."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.support.proxies.http import HttpHandler
from tests.support.proxies.postgres import PostgresHandler
from tests.support.proxies.script import Script
from tests.support.proxies.server import running_server


@dataclass
class BackendProxies:
    """A proxy before the AWS endpoint and one before the database; both play `script`, which may be replaced."""

    script: Script = field(default_factory=Script)
    endpoint_url: str = ""
    database_url: str = ""

    def report(self, problem: str) -> None:
        """Note an error of a proxy, which makes the script's `wait_until_quiet` fail."""
        self.script.problems.append(problem)


@contextlib.contextmanager
def proxied_backends(endpoint_url: str, database_url: str) -> Iterator[BackendProxies]:
    """Run proxies before an AWS endpoint and a database."""
    proxies = BackendProxies()

    def script() -> Script:
        return proxies.script

    with (
        running_server(HttpHandler, endpoint_url, script, proxies.report) as aws,
        running_server(PostgresHandler, database_url, script, proxies.report) as database,
    ):
        proxies.endpoint_url, proxies.database_url = aws.url, database.url
        yield proxies
