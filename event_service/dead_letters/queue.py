"""The dead-letter queue: read without disturbing it, and emptied message by message."""

import tempfile
import threading
import time
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import islice
from typing import IO, Any, Final, TypeVar

MESSAGES_PER_REQUEST: Final = 10  # of every operation of SQS
_THREADS: Final = 8
# How long a message that was looked at stays hidden if the command is killed and cannot release it.
_HIDDEN_SECONDS: Final = 600
_MAX_HIDDEN_SECONDS: Final = 12 * 3600
# More than 0: SQS then asks all of its servers, and an empty answer means that the queue is empty.
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-short-and-long-polling.html
_WAIT_SECONDS: Final = 1
_ATTEMPTS: Final = 4
_PAUSE_SECONDS: Final = 0.5

Message = Mapping[str, Any]  # as SQS returns it
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue and the client to reach it with.

    Every operation raises:
        botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError: SQS refused, or cannot be reached.
    """

    client: Any
    url: str

    def count(self) -> int:
        """Return about how many messages are visible."""
        name = "ApproximateNumberOfMessages"
        answer = self.client.get_queue_attributes(QueueUrl=self.url, AttributeNames=[name])
        return int(answer["Attributes"][name])

    def walk(self, visit: Callable[[list[Message]], tuple[Result, Collection[str]]]) -> Generator[Result, None, None]:
        """Pass every visible message to `visit`, up to 10 at a time and from several threads; yield its results.

        `visit` returns a result and the ids of the messages that it has removed from the queue. The others stay hidden
        until all were visited: otherwise they could be received twice. Then they become visible again, also after an
        error or if the caller closes the iterator. Messages that another reader has received are skipped.
        """
        started = time.monotonic()
        lock = threading.Lock()
        seen: set[int] = set()  # hashes: the ids of 100,000 messages would take three times the memory
        with tempfile.TemporaryFile("w+") as held:

            def visit_some() -> Result | None:
                # Twice as long as the walk has lasted: it receives messages again that became visible meanwhile, and
                # would never end if that happened faster than it proceeds.
                hidden = max(_HIDDEN_SECONDS, 2 * int(time.monotonic() - started))
                batch = self._receive(min(hidden, _MAX_HIDDEN_SECONDS))
                removed: Collection[str] = ()
                try:
                    with lock:
                        new = [message for message in batch if hash(message["MessageId"]) not in seen]
                        seen.update(hash(message["MessageId"]) for message in new)
                    result, removed = visit(new) if batch else (None, ())
                finally:
                    with lock:
                        held.writelines(f"{m['ReceiptHandle']}\n" for m in batch if m["MessageId"] not in removed)
                return result

            try:
                yield from _in_threads(visit_some)
            finally:
                self._release(held)

    def send(self, messages: Sequence[Mapping[str, Any]]) -> dict[int, str]:
        """Send up to 10 messages (`MessageBody`, `MessageAttributes`); return the reasons of those not accepted."""
        return self._batch(self.client.send_message_batch, messages)

    def delete(self, messages: Sequence[Message]) -> dict[int, str]:
        """Delete up to 10 messages that were received; return the reasons of those that were not deleted."""
        entries = [{"ReceiptHandle": each["ReceiptHandle"]} for each in messages]
        return self._batch(self.client.delete_message_batch, entries)

    def _receive(self, hidden_seconds: int) -> list[Message]:
        answer = self.client.receive_message(
            QueueUrl=self.url,
            MaxNumberOfMessages=MESSAGES_PER_REQUEST,
            WaitTimeSeconds=_WAIT_SECONDS,
            VisibilityTimeout=hidden_seconds,
            MessageAttributeNames=["All"],
            MessageSystemAttributeNames=["All"],
        )
        return list(answer.get("Messages", []))

    def _release(self, held: IO[str]) -> None:
        """Make messages visible again; where this fails, they become visible when their time is over."""
        held.seek(0)
        lock = threading.Lock()

        def release_some() -> bool | None:
            with lock:
                handles = [line.rstrip("\n") for line in islice(held, MESSAGES_PER_REQUEST)]
            if not handles:
                return None
            entries = [{"ReceiptHandle": handle, "VisibilityTimeout": 0} for handle in handles]
            self._batch(self.client.change_message_visibility_batch, entries)
            return True

        for _ in _in_threads(release_some):
            pass

    def _batch(self, operation: Callable[..., Any], entries: Sequence[Mapping[str, Any]]) -> dict[int, str]:
        """Call a batch operation, again for the entries that failed for a moment; return the codes of the failed."""
        failed: dict[int, str] = {}
        pending = [*range(len(entries))]
        for attempt in range(_ATTEMPTS):
            if not pending:
                break
            time.sleep(_PAUSE_SECONDS * attempt)
            request = [{"Id": str(index), **entries[index]} for index in pending]
            failures = operation(QueueUrl=self.url, Entries=request).get("Failed", [])
            failed = {index: code for index, code in failed.items() if index not in pending}
            failed |= {int(each["Id"]): str(each.get("Code")) for each in failures}
            pending = [int(each["Id"]) for each in failures if not each.get("SenderFault")]
        return failed


def _in_threads(step: Callable[[], Result | None]) -> Iterator[Result]:
    """Call `step` from several threads until it has returned None to each; yield what else it returns.

    After an error, or if the caller closes the iterator, the calls that have begun are completed.
    """
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="queue") as pool:
        pending = {pool.submit(step) for _ in range(_THREADS)}
        while pending:
            done, pending = wait(pending, return_when=FIRST_COMPLETED)
            for future in done:
                if (result := future.result()) is not None:
                    pending.add(pool.submit(step))
                    yield result
