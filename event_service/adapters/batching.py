"""Sends entries in concurrent batch requests, and splits a request that one of its entries makes fail."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from typing import Final, TypeVar

from botocore.exceptions import BotoCoreError, ClientError

from event_service.adapters.aws import NO_RESPONSE
from event_service.deadline import Deadline
from event_service.errors import Backend, RecordError, Unavailable, internal_error, out_of_time

Entry = TypeVar("Entry")
Answer = TypeVar("Answer")

# Codes, of a request or of one entry in it, after which the same request may succeed. DynamoDB's batch statements
# name some of them without the `Exception` at the end.
_RETRYABLE_CODES: Final = frozenset(
    {
        "InternalError",
        "InternalFailure",
        "InternalServerError",
        "KMSThrottling",
        "ProvisionedThroughputExceeded",
        "RequestLimitExceeded",
        "RequestTimeout",
        "ServiceUnavailable",
        "Throttled",
        "Throttling",
        "ThrottlingError",
        "TransactionConflict",
    }
)
_SERVER_ERROR: Final = 500
# Codes of a request that is refused because of the content of one of its entries.
_CONTENT_CODES: Final = (
    "Validation",
    "InvalidParameter",
    "ParameterValueInvalid",
    "SerializationException",
    "BatchRequestTooLong",
)


class EntryRefused(Exception):
    """A backend refused a request because of one of its entries; `error` is that entry's."""

    def __init__(self, error: RecordError) -> None:
        super().__init__(str(error))
        self.error = error


def is_retryable(code: str) -> bool:
    """Tell whether a request, or an entry of one, that failed with this code may succeed at the next attempt."""
    return code.removesuffix("Exception") in _RETRYABLE_CODES


def is_transient(refusal: ClientError) -> bool:
    """Tell whether a request that was refused may succeed at the next attempt."""
    status = refusal.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return is_retryable(refusal.response.get("Error", {}).get("Code", "")) or status >= _SERVER_ERROR


def in_halves(
    entries: Sequence[Entry], send: Callable[[Sequence[Entry]], Sequence[Answer]], deadline: Deadline
) -> list[Answer | RecordError]:
    """Send entries together; if one of them makes the request fail, send halves until that one fails alone.

    An unforeseen exception counts as the fault of an entry. `send` answers for each of its entries, in order.

    Returns:
        For each entry the answer, or its error.

    """
    try:
        return [*send(entries)]
    except RecordError as exc:
        return [exc] * len(entries)
    except Exception as exc:  # noqa: BLE001  # no entry may fail another
        if len(entries) == 1 or not deadline.remaining():
            error = exc.error if isinstance(exc, EntryRefused) else internal_error(exc)
            return [error] * len(entries)
    half = len(entries) // 2
    return [*in_halves(entries[:half], send, deadline), *in_halves(entries[half:], send, deadline)]


def send_in_batches(
    entries: Sequence[Entry],
    send: Callable[[Sequence[Entry]], Sequence[Answer]],
    *,
    backend: Backend,
    batches: Callable[[Sequence[Entry]], Iterable[Sequence[Entry]]],
    pool: Executor,
    deadline: Deadline,
) -> list[Answer | RecordError]:
    """Send each entry once, in concurrent batches.

    `batches` cuts entries into batches, in order; `send` sends one and answers for each of its entries, in order.

    Returns:
        For each entry the answer, or why there is none.

    """

    def request(batch: Sequence[Entry]) -> Sequence[Answer]:
        if not deadline.remaining():  # the caller gave up while this waited for its turn
            raise out_of_time()
        return _send(batch, send, backend)

    def answers(future: "Future[list[Answer | RecordError]]", batch: Sequence[Entry]) -> list[Answer | RecordError]:
        try:
            return future.result(deadline.remaining())
        except TimeoutError:
            return [out_of_time()] * len(batch)

    requests = [(pool.submit(in_halves, batch, request, deadline), batch) for batch in batches(entries)]
    return [answer for future, batch in requests for answer in answers(future, batch)]


def _send(
    batch: Sequence[Entry], send: Callable[[Sequence[Entry]], Sequence[Answer]], backend: Backend
) -> Sequence[Answer]:
    """Send a batch, and translate the errors of AWS clients."""
    try:
        answers = send(batch)
    except ClientError as exc:
        code = exc.response.get("Error", {}).get("Code", "")
        what = code or exc.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        error = Unavailable(backend, f"answered {what}", retryable=is_transient(exc))
        if code.startswith(_CONTENT_CODES):
            raise EntryRefused(error) from exc
        raise error from exc
    except UnicodeError:
        raise  # a text that cannot be sent: the fault of its entry
    except (BotoCoreError, *NO_RESPONSE, ValueError) as exc:  # no connection, no answer in time, or an unreadable one
        raise Unavailable(backend, type(exc).__name__, retryable=True) from exc
    if len(answers) != len(batch):
        raise Unavailable(backend, "did not answer for every entry", retryable=True)
    return answers


def cut(
    entries: Sequence[Entry], *, count: int, size: int = 0, size_of: Callable[[Entry], int] = lambda _: 0
) -> Iterator[list[Entry]]:
    """Cut entries, in order, into batches of at most `count` entries and, in total, at most `size`."""
    batch: list[Entry] = []
    batch_size = 0
    for entry in entries:
        entry_size = size_of(entry)
        if batch and (len(batch) == count or batch_size + entry_size > size):
            yield batch
            batch, batch_size = [], 0
        batch.append(entry)
        batch_size += entry_size
    if batch:
        yield batch
