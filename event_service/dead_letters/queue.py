"""The dead-letter queue: read without disturbing it, and emptied message by message."""

import tempfile
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import IO, Any, Final

THREADS: Final = 8
_MESSAGES_PER_REQUEST: Final = 10  # of every operation of SQS
# How long a message that was looked at stays hidden if the command is killed and cannot release it.
_HIDDEN_SECONDS: Final = 600
# More than 0: SQS then asks all of its servers, so that an empty answer means that nothing is left.
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-short-and-long-polling.html
_WAIT_SECONDS: Final = 1
_ATTEMPTS: Final = 4
_PAUSE_SECONDS: Final = 0.5

Message = Mapping[str, Any]  # as SQS returns it


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

    def walk(
        self,
        visit: Callable[[list[Message]], Collection[str]],
        progress: Callable[[int], None] = lambda _: None,
        stop: threading.Event | None = None,
    ) -> int:
        """Pass every visible message to `visit`, in batches and from several threads; return their number.

        `visit` returns the ids of the messages that it has removed from the queue. The others stay hidden until all
        were visited, so that none is received twice, and are visible again afterwards, also after an error. Messages
        that another reader has received are left alone. `progress` is told how many were visited so far; setting
        `stop` ends the walk early.
        """
        stop = stop or threading.Event()
        lock = threading.Lock()
        seen: set[int] = set()  # hashes: the ids of 100,000 messages would take three times the memory
        with tempfile.TemporaryFile("w+") as held:

            def work() -> None:
                while not stop.is_set() and (batch := self._receive()):
                    removed: Collection[str] = ()
                    try:
                        with lock:
                            # A walk that lasts longer than messages are hidden receives some again.
                            new = [message for message in batch if hash(message["MessageId"]) not in seen]
                            seen.update(hash(message["MessageId"]) for message in new)
                        removed = visit(new)
                    finally:
                        with lock:
                            held.writelines(f"{m['ReceiptHandle']}\n" for m in batch if m["MessageId"] not in removed)
                    with lock:
                        progress(len(seen))

            try:
                _run(work, stop)
            finally:
                self._release(held)
        return len(seen)

    def send(self, messages: Sequence[Mapping[str, Any]]) -> dict[int, str]:
        """Send up to 10 messages (`MessageBody`, `MessageAttributes`); return the reasons of those not accepted."""
        return self._batch(self.client.send_message_batch, messages)

    def delete(self, messages: Sequence[Message]) -> dict[int, str]:
        """Delete up to 10 messages that were received; return the reasons of those that were not deleted."""
        return self._batch(
            self.client.delete_message_batch, [{"ReceiptHandle": each["ReceiptHandle"]} for each in messages]
        )

    def _receive(self) -> list[Message]:
        answer = self.client.receive_message(
            QueueUrl=self.url,
            MaxNumberOfMessages=_MESSAGES_PER_REQUEST,
            WaitTimeSeconds=_WAIT_SECONDS,
            VisibilityTimeout=_HIDDEN_SECONDS,
            MessageAttributeNames=["All"],
            MessageSystemAttributeNames=["All"],
        )
        return list(answer.get("Messages", []))

    def _release(self, held: IO[str]) -> None:
        """Make messages visible again; one that cannot be is after `_HIDDEN_SECONDS`."""
        held.seek(0)
        batches = _batches({"ReceiptHandle": line.rstrip("\n"), "VisibilityTimeout": 0} for line in held)
        lock = threading.Lock()

        def work() -> None:
            while True:
                with lock:
                    batch = next(batches, None)
                if batch is None:
                    return
                self._batch(self.client.change_message_visibility_batch, batch)

        _run(work, threading.Event())

    def _batch(self, operation: Callable[..., Any], entries: Sequence[Mapping[str, Any]]) -> dict[int, str]:
        """Call a batch operation, again for the entries that failed for a moment; return the codes of the failed."""
        failed: dict[int, str] = {}
        pending = [*range(len(entries))]
        for attempt in range(_ATTEMPTS):
            time.sleep(_PAUSE_SECONDS * attempt)
            request = [{"Id": str(index), **entries[index]} for index in pending]
            failures = {
                int(each["Id"]): each for each in operation(QueueUrl=self.url, Entries=request).get("Failed", [])
            }
            failed = {index: code for index, code in failed.items() if index not in pending}
            failed |= {index: str(each.get("Code")) for index, each in failures.items()}
            pending = [index for index, each in failures.items() if not each.get("SenderFault")]
            if not pending:
                break
        return failed


def _batches(entries: Iterable[Any]) -> Iterator[list[Any]]:
    iterator = iter(entries)
    while batch := [*islice(iterator, _MESSAGES_PER_REQUEST)]:
        yield batch


def _run(work: Callable[[], None], stop: threading.Event) -> None:
    """Run `work` in several threads; the first error, or Ctrl-C, sets `stop`."""

    def guarded() -> None:
        try:
            work()
        except BaseException:
            stop.set()
            raise

    with ThreadPoolExecutor(THREADS, thread_name_prefix="queue") as pool:
        futures = [pool.submit(guarded) for _ in range(THREADS)]
        try:
            for future in futures:
                future.result()
        finally:
            stop.set()
