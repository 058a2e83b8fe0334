"""How entries are sent in batch requests: side by side, again when that may help, in halves when one is to blame."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, wait
from typing import Final, TypeVar

from botocore.exceptions import BotoCoreError, ClientError
from urllib3.exceptions import HTTPError

from event_service.deadline import Deadline
from event_service.errors import Unavailable, UnavailableReason, out_of_time

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
# Codes of a request refused for what one of its entries holds.
_CONTENT_CODES: Final = (
    "Validation",
    "InvalidParameter",
    "ParameterValueInvalid",
    "SerializationException",
    "BatchRequestTooLong",
)


def is_retryable(code: str) -> bool:
    """Tell whether a request, or an entry of one, that failed with this code may succeed at the next attempt."""
    return code.removesuffix("Exception") in _RETRYABLE_CODES


def is_transient(refusal: ClientError) -> bool:
    """Tell whether a request that was refused may succeed at the next attempt."""
    status = refusal.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return is_retryable(refusal.response.get("Error", {}).get("Code", "")) or status >= _SERVER_ERROR


def send_in_batches(
    entries: Sequence[Entry],
    send: Callable[[Sequence[Entry]], Sequence[Answer | Unavailable]],
    *,
    backend: UnavailableReason,
    batches: Callable[[Sequence[Entry]], Iterable[Sequence[Entry]]],
    pool: Executor,
    deadline: Deadline,
) -> list[Answer | Unavailable]:
    """Send entries in batches side by side, and what failed retryably again, until the deadline.

    `batches` cuts entries into batches; `send` sends one and answers for each of its entries, in order. A request
    that is refused for what one entry holds is sent again in halves, so that the entry fails alone.

    Returns:
        For each entry the answer or why there is none.

    """
    late = out_of_time()
    answers: list[Answer | Unavailable] = [late] * len(entries)
    pending = list(range(len(entries)))

    def request(batch: Sequence[Entry]) -> Sequence[Answer | Unavailable]:
        # It may have waited for its turn until the batch was answered: then it must not be sent any more.
        return _send(batch, send, backend, deadline) if deadline.remaining() else [late] * len(batch)

    attempts = deadline.attempts()
    while pending and next(attempts, None) is not None:
        indexes = iter(pending)
        requests = {pool.submit(request, batch): batch for batch in batches([entries[index] for index in pending])}
        done, _ = wait(requests, timeout=deadline.remaining())
        for future, batch in requests.items():
            batch_answers = future.result() if future in done else [late] * len(batch)
            for answer in batch_answers:
                answers[next(indexes)] = answer
        pending = [index for index in pending if is_worth_retrying(answers[index])]
    return answers


def is_worth_retrying(answer: object) -> bool:
    """Tell whether an answer is a failure that another attempt may mend."""
    return isinstance(answer, Unavailable) and answer.retryable


def _send(
    batch: Sequence[Entry],
    send: Callable[[Sequence[Entry]], Sequence[Answer | Unavailable]],
    backend: UnavailableReason,
    deadline: Deadline,
) -> Sequence[Answer | Unavailable]:
    try:
        answers = send(batch)
    except ClientError as exc:
        code = exc.response.get("Error", {}).get("Code", "")
        if len(batch) > 1 and code.startswith(_CONTENT_CODES) and deadline.remaining():
            half = len(batch) // 2
            return [
                *_send(batch[:half], send, backend, deadline),
                *_send(batch[half:], send, backend, deadline),
            ]
        what = code or exc.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return [Unavailable(backend, f"answered {what}", retryable=is_transient(exc))] * len(batch)
    except (
        BotoCoreError,
        HTTPError,
        ValueError,
    ) as exc:  # no connection, no answer in time, or one that cannot be read
        return [Unavailable(backend, type(exc).__name__, retryable=True)] * len(batch)
    if len(answers) != len(batch):
        return [Unavailable(backend, "did not answer for every entry", retryable=True)] * len(batch)
    return answers


def cut(
    entries: Sequence[Entry], *, count: int, size: int = 0, size_of: Callable[[Entry], int] = lambda _: 0
) -> Iterator[list[Entry]]:
    """Cut entries, in order, into batches of at most so many and of at most this size in all."""
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
