"""The connection to PostgreSQL: made when needed, kept between invocations, replaced when it is dead."""

import json
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any, Final

import psycopg
from botocore.exceptions import BotoCoreError, ClientError
from psycopg import errors
from psycopg.abc import RV, PQGen
from psycopg.pq import TransactionStatus

from event_service.config import DatabaseSettings
from event_service.deadline import Deadline

_CONNECT_SECONDS: Final = 5
_CONNECT_SECONDS_PER_ADDRESS: Final = 2
_STATEMENT_SECONDS: Final = 4.0
# The certificates of Amazon RDS and, for RDS Proxy, of Amazon Trust Services.
# https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/UsingWithRDS.SSL.html
_CERTIFICATES: Final = Path(__file__).parent.parent / "certificates" / "rds-global-bundle.pem"

SecretsClient = Callable[[], Any]  # makes the client of Secrets Manager, which not everyone needs


class TimeLimitedConnection(psycopg.Connection[tuple[Any, ...]]):
    """A connection whose statements end within a time limit on this side.

    PostgreSQL's own `statement_timeout` does nothing for a link that has gone silent, and setting it would pin the
    connection of an RDS Proxy.
    """

    statement_seconds: float | None = None

    def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:
        """Wait as psycopg does, but never longer than the limit."""
        return super().wait(gen, interval, self.statement_seconds if timeout is None else timeout)

    def __del__(self, *_: object) -> None:
        """Close it: it is kept as long as the execution environment lives, and then nobody is left to do so."""
        self.close()


def connect(settings: DatabaseSettings, secrets: SecretsClient) -> TimeLimitedConnection:
    """Open an autocommit connection that makes no named prepared statements: those would pin an RDS Proxy's.

    Raises:
        psycopg.Error: it cannot be opened.

    """
    try:
        return TimeLimitedConnection.connect(
            settings.url,
            autocommit=True,
            prepare_threshold=None,
            connect_timeout=_CONNECT_SECONDS_PER_ADDRESS,
            tcp_user_timeout=int(_STATEMENT_SECONDS * 1000),
            application_name="event-service",
            **({} if settings.url else connection_parameters(settings, secrets)),
        )
    except errors.ConnectionTimeout as exc:
        # psycopg leaves the attempt, with its socket, in a frame that the exception keeps alive in a cycle.
        traceback.clear_frames(exc.__traceback__)
        raise


def connection_parameters(settings: DatabaseSettings, secrets: SecretsClient) -> dict[str, Any]:
    """Return the libpq parameters of an RDS endpoint, with user and password from the secret, in the form RDS has it.

    https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_secret_json_structure.html
    """
    try:
        secret = json.loads(secrets().get_secret_value(SecretId=settings.secret_arn)["SecretString"])
        user, password = secret["username"], secret["password"]
    except (BotoCoreError, ClientError, KeyError, TypeError, ValueError) as exc:
        raise psycopg.OperationalError(f"the secret of the database cannot be read: {type(exc).__name__}") from exc
    return {
        "host": settings.host,
        "port": settings.port,
        "dbname": settings.name,
        "user": user,
        "password": password,
        "sslmode": "verify-full",
        "sslrootcert": str(_CERTIFICATES),
    }


class Database:
    """The one connection of an execution environment, which handles one batch at a time; `pool` opens it."""

    def __init__(self, settings: DatabaseSettings, secrets: SecretsClient, pool: Executor) -> None:
        self._settings = settings
        self._secrets = secrets
        self._pool = pool
        self._connection: TimeLimitedConnection | None = None

    def query(self, statement: str, parameters: Sequence[Any], deadline: Deadline) -> list[tuple[Any, ...]]:
        """Run one statement and return its rows, once more on a new connection where the kept one was dead.

        Raises:
            psycopg.Error: PostgreSQL refused the statement, cannot be reached, or did not answer in time.

        """
        if self._connection is not None:
            try:
                return self._run(self._connection, statement, parameters, deadline)
            except psycopg.Error:
                if self._connection is not None:
                    raise
        self._connection = self._connect(deadline)
        return self._run(self._connection, statement, parameters, deadline)

    def _connect(self, deadline: Deadline) -> TimeLimitedConnection:
        """Connect in another thread: nothing else limits the name server, the secret and all addresses together.

        Every new connection reads the secret anew, and so finds a rotated password.
        """
        connecting = self._pool.submit(connect, self._settings, self._secrets)
        try:
            return connecting.result(deadline.within(_CONNECT_SECONDS).remaining())
        except TimeoutError:
            connecting.cancel()
            connecting.add_done_callback(_close)  # it may still come about
            raise psycopg.OperationalError("there was no connection in time") from None

    def _run(
        self, connection: TimeLimitedConnection, statement: str, parameters: Sequence[Any], deadline: Deadline
    ) -> list[tuple[Any, ...]]:
        connection.statement_seconds = min(_STATEMENT_SECONDS, deadline.remaining())
        try:
            return connection.execute(statement, parameters).fetchall()
        except psycopg.Error as exc:
            # Not idle: dead, or still waiting for an answer. Read-only: the writer until a failover, no longer.
            idle = connection.info.transaction_status == TransactionStatus.IDLE
            if not idle or isinstance(exc, errors.ReadOnlySqlTransaction):
                connection.close()
                self._connection = None
            raise


def _close(connecting: Future[TimeLimitedConnection]) -> None:
    if not connecting.cancelled() and not connecting.exception():
        connecting.result().close()
