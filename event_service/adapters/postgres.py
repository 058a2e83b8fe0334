"""The connection to PostgreSQL: opened when needed, kept between invocations, replaced when it is dead."""

import json
import re
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from typing import Any, Final

import psycopg
from botocore.exceptions import BotoCoreError, ClientError
from psycopg import errors
from psycopg.abc import RV, PQGen
from psycopg.pq import TransactionStatus

from event_service.adapters.postgres_errors import DatabaseRefused, translated
from event_service.certificates import certificate_file, regions
from event_service.config import DatabaseSettings
from event_service.deadline import Deadline
from event_service.errors import out_of_time

_CONNECT_SECONDS: Final = 4
_CONNECT_SECONDS_PER_ADDRESS: Final = 2
# Below the 5 seconds that a change may take to be visible (contract, "On time": rescue_time() in the migrations).
_STATEMENT_SECONDS: Final = 4.0

# What the service relies on. Servers, databases and roles may have other defaults; a setting is sent only if they do,
# because each SET pins the connection of an RDS Proxy.
_SESSION_SETTINGS: Final = {
    "TimeZone": "UTC",
    "DateStyle": "ISO, MDY",
    "default_transaction_isolation": "read committed",  # apply_events() has to see what was committed while it waited
    "default_transaction_read_only": "off",
    "extra_float_digits": "1",
    "lock_timeout": "0",
    "search_path": '"$user", public',
    "statement_timeout": "0",
    "synchronous_commit": "on",
    "transaction_timeout": "0",  # since PostgreSQL 17
}

SecretsClient = Callable[[], Any]  # creates the client of Secrets Manager, which not every caller needs


class TimeLimitedConnection(psycopg.Connection[tuple[Any, ...]]):
    """A connection whose statements end within a time limit on this side.

    PostgreSQL's own `statement_timeout` does nothing for a link that has gone silent.
    """

    statement_seconds: float | None = None

    def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:
        """Wait as psycopg does, but never longer than the limit."""
        return super().wait(gen, interval, self.statement_seconds if timeout is None else timeout)

    def __del__(self, *_: object) -> None:
        """Close the connection: it is kept for the life of the execution environment, and nothing else closes it."""
        self.close()


def connect(settings: DatabaseSettings, secrets: SecretsClient) -> TimeLimitedConnection:
    """Open an autocommit connection with every setting that the service relies on.

    It makes no named prepared statements: those would pin the connection of an RDS Proxy.

    Raises:
        psycopg.Error: it cannot be opened; DatabaseRefused if the database's encoding is not UTF-8.

    """
    try:
        connection = TimeLimitedConnection.connect(
            settings.url,
            autocommit=True,
            prepare_threshold=None,
            connect_timeout=_CONNECT_SECONDS_PER_ADDRESS,
            tcp_user_timeout=int(_STATEMENT_SECONDS * 1000),
            application_name="event-service",
            client_encoding="UTF8",
            **({} if settings.url else connection_parameters(settings, secrets)),
        )
    except errors.ConnectionTimeout as exc:
        # psycopg leaves the attempt, with its socket, in a frame that the exception keeps alive in a cycle.
        traceback.clear_frames(exc.__traceback__)
        raise
    except psycopg.OperationalError as exc:
        if not settings.url and re.search("certificate verify failed|does not match host name", str(exc)):
            raise _certificate_refused(settings, exc) from exc
        raise
    try:
        _prepare_session(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare_session(connection: TimeLimitedConnection) -> None:
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        raise DatabaseRefused(f"the database's encoding is {encoding}; event-service needs UTF8")
    connection.statement_seconds = _STATEMENT_SECONDS
    names = ", ".join(f"current_setting('{name}', true)" for name in _SESSION_SETTINGS)
    found = connection.execute(f"SELECT {names}".encode()).fetchone() or ()
    for (name, wanted), value in zip(_SESSION_SETTINGS.items(), found, strict=True):
        if value not in (wanted, None) and not (name == "synchronous_commit" and value != "off"):
            connection.execute("SELECT set_config(%s, %s, false)", (name, wanted))
    connection.statement_seconds = None


def connection_parameters(settings: DatabaseSettings, secrets: SecretsClient) -> dict[str, Any]:
    """Return the libpq parameters of an RDS endpoint, with user and password from its secret.

    https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_secret_json_structure.html
    """
    try:
        secret = json.loads(secrets().get_secret_value(SecretId=settings.secret_arn)["SecretString"])
        user, password = secret["username"], secret["password"]
    except (BotoCoreError, ClientError, KeyError, TypeError, ValueError) as exc:
        reason = exc.response["Error"]["Code"] if isinstance(exc, ClientError) else type(exc).__name__
        raise DatabaseRefused(f"the secret of the database cannot be read: {reason}") from exc
    return {
        "host": settings.host,
        "port": settings.port,
        "dbname": settings.name,
        "user": user,
        "password": password,
        "sslmode": "verify-full",
        "sslrootcert": str(certificate_file(settings.certificates)),
    }


def _certificate_refused(settings: DatabaseSettings, exc: psycopg.OperationalError) -> DatabaseRefused:
    manual = "see docs/deploying.md, Certificates"
    if "does not match host name" in str(exc):
        return DatabaseRefused(
            "the database's certificate does not match the host name: set DATABASE_HOST to the database's endpoint as"
            f" AWS names it, not to an alias or an address; {manual}"
        )
    file = certificate_file(settings.certificates)
    covered = ", ".join(regions(file)) or "of no region of Amazon RDS"
    return DatabaseRefused(
        f"certificate verify failed: {file.name} ({covered}) does not vouch for the database; {manual}"
    )


class Database:
    """The one connection of an execution environment, which handles one batch at a time; `pool` opens it."""

    def __init__(self, settings: DatabaseSettings, secrets: SecretsClient, pool: Executor) -> None:
        self._settings = settings
        self._secrets = secrets
        self._pool = pool
        self._connection: TimeLimitedConnection | None = None

    def query(self, statement: str, parameters: Sequence[Any], deadline: Deadline) -> list[tuple[Any, ...]]:
        """Run one statement and return its rows; if the kept connection was dead, run it again on a new one.

        Raises:
            Unavailable: PostgreSQL cannot be reached, did not answer in time, or refused the statement for a reason
                that no row is to blame for.
            EntryRefused: it refused the statement because of one of the rows, or waited too long for a lock on one.

        """
        if not deadline.remaining():
            raise out_of_time()
        try:
            if self._connection is not None:
                try:
                    return self._run(self._connection, statement, parameters, deadline)
                except psycopg.Error:
                    if self._connection is not None:
                        raise
            self._connection = self._connect(deadline)
            return self._run(self._connection, statement, parameters, deadline)
        except psycopg.Error as exc:
            raise translated(exc) from exc

    def _connect(self, deadline: Deadline) -> TimeLimitedConnection:
        """Connect in another thread: nothing else limits name server, secret and all addresses together.

        Every new connection reads the secret again, and so finds a rotated password.
        """
        connecting = self._pool.submit(connect, self._settings, self._secrets)
        try:
            return connecting.result(deadline.within(_CONNECT_SECONDS).remaining())
        except TimeoutError:
            connecting.cancel()
            connecting.add_done_callback(_close)  # it may still succeed
            raise DatabaseRefused("no connection in time") from None

    def _run(
        self, connection: TimeLimitedConnection, statement: str, parameters: Sequence[Any], deadline: Deadline
    ) -> list[tuple[Any, ...]]:
        connection.statement_seconds = min(_STATEMENT_SECONDS, deadline.remaining())
        try:
            return connection.execute(statement, parameters).fetchall()
        except BaseException as exc:
            # Not idle: dead, or still waiting for an answer. Read-only: the writer until a failover, no longer.
            idle = connection.info.transaction_status == TransactionStatus.IDLE
            if not idle or isinstance(exc, errors.ReadOnlySqlTransaction):
                connection.close()
                self._connection = None
            raise


def _close(connecting: Future[TimeLimitedConnection]) -> None:
    if not connecting.cancelled() and not connecting.exception():
        connecting.result().close()
