"""What every AWS client here has in common: its limits, and how its batch requests are sent."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, wait
from typing import Any, Final, TypeVar
from urllib.parse import quote_plus

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError
from botocore.session import Session

from event_service.deadline import Deadline
from event_service.errors import Backend, Unavailable, out_of_time

Entry = TypeVar("Entry")
Answer = TypeVar("Answer")

MAX_CONCURRENT_REQUESTS: Final = 16
_CONNECT_SECONDS: Final = 1
_READ_SECONDS: Final = 3

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


# What application/x-www-form-urlencoded has for each byte: https://url.spec.whatwg.org/#urlencoded-serializing
_FORM_CODES: Final = {byte: quote_plus(bytes([byte])) for byte in range(256)}


def make_client(session: Session, service: str) -> Any:
    """Return a client that does not retry and whose connects and reads have limits.

    They hold per address and per read of the socket; what ends the wait for a request is the deadline, here.
    """
    client = session.create_client(
        service,
        config=Config(
            connect_timeout=_CONNECT_SECONDS,
            read_timeout=_READ_SECONDS,
            retries={"total_max_attempts": 1},
            max_pool_connections=MAX_CONCURRENT_REQUESTS,
            parameter_validation=False,
            tcp_keepalive=True,
            user_agent="event-service",  # botocore's own is put together anew for every request
        ),
    )
    client.meta.events.register("before-call", _encode_form)
    return client


def _encode_form(params: dict[str, Any], **_: Any) -> None:
    """Encode the form that a request of the query protocol has as its body.

    botocore does so character by character in Python, twice a request: that was two thirds of the CPU time of a batch.
    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/sqs-making-api-requests-xml.html
    """
    if isinstance(params["body"], dict):
        form = "&".join(f"{_encode(name)}={_encode(str(value))}" for name, value in params["body"].items())
        params["body"] = form.encode()


def _encode(text: str) -> str:
    return text.encode().decode("latin-1").translate(_FORM_CODES)


def is_retryable(code: str) -> bool:
    """Tell whether a request, or an entry of one, that failed with this code may succeed at the next attempt."""
    return code.removesuffix("Exception") in _RETRYABLE_CODES


def send_in_batches(
    entries: Sequence[Entry],
    send: Callable[[Sequence[Entry]], Sequence[Answer | Unavailable]],
    *,
    backend: Backend,
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
    backend: Backend,
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
        status = exc.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        retryable = is_retryable(code) or status >= _SERVER_ERROR
        return [Unavailable(backend, f"answered {code or status}", retryable=retryable)] * len(batch)
    except (BotoCoreError, ResponseParserError) as exc:  # no connection, no answer in time, or one that cannot be read
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
