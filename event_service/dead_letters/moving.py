"""Takes dead letters out of the queue, each only after a copy of it is safe elsewhere."""

import json
import os
import threading
from base64 import b64encode
from collections.abc import Callable, Generator, Sequence
from stat import S_ISREG
from typing import IO, Any, Final

from event_service.adapters.batching import cut
from event_service.adapters.topics import REJECTION
from event_service.dead_letters.letters import DeadLetter, read_letter
from event_service.dead_letters.queue import MESSAGES_PER_REQUEST, Message, Queue
from event_service.domain.envelope import FIRST_SENT_AT

MOVED: Final = "moved"
NOT_SELECTED: Final = "not selected"
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
_MAX_BYTES: Final = 1024 * 1024  # of a message, and of all messages of a request
_MAX_ATTRIBUTES: Final = 10

Keep = Callable[[Sequence[DeadLetter]], dict[int, str]]  # makes copies; returns the reasons of those that failed


def move(queue: Queue, is_selected: Callable[[DeadLetter], bool], keep: Keep) -> Generator[list[str], None, None]:
    """Copy the selected letters with `keep`, delete each that was copied, and yield what became of each letter.

    That is `MOVED`, `NOT_SELECTED`, or the reason why a letter is still in the queue.
    """

    def visit(messages: list[Message]) -> tuple[list[str], set[str]]:
        chosen = [*filter(is_selected, map(read_letter, messages))]
        outcomes = [NOT_SELECTED] * (len(messages) - len(chosen))
        removed: set[str] = set()
        for batch in cut(chosen, count=MESSAGES_PER_REQUEST, size=_MAX_BYTES, size_of=_size):
            failures = keep(batch)
            copied = [letter.message for index, letter in enumerate(batch) if index not in failures]
            undeleted = queue.delete(copied) if copied else {}
            removed.update(each["MessageId"] for index, each in enumerate(copied) if index not in undeleted)
            outcomes += [*failures.values(), *(f"copied, but not deleted: {code}" for code in undeleted.values())]
        return outcomes + [MOVED] * len(removed), removed

    return queue.walk(visit)


def to_queue(queue: Queue) -> Keep:
    """Return a function that sends letters to the event queue."""

    def send(letters: Sequence[DeadLetter]) -> dict[int, str]:
        # SQS would refuse the whole request.
        failures = {index: problem for index, letter in enumerate(letters) if (problem := _unsendable(letter))}
        rest = [index for index in range(len(letters)) if index not in failures]
        refused = queue.send([_redriven(letters[index]) for index in rest]) if rest else {}
        return failures | {rest[position]: code for position, code in refused.items()}

    return send


def _redriven(letter: DeadLetter) -> dict[str, Any]:
    """Return the message to send to the event queue: `firstSentAt` is added, and the rejection is left out."""
    attributes = {n: v for n, v in (letter.message.get("MessageAttributes") or {}).items() if n != REJECTION}
    first = {FIRST_SENT_AT: {"DataType": "Number", "StringValue": str(letter.first_sent_at)}}
    return {"MessageBody": letter.message["Body"], "MessageAttributes": first | attributes}


def _unsendable(letter: DeadLetter) -> str | None:
    """Return why a letter does not fit a message once `firstSentAt` is added to it; None if it does."""
    if len(_redriven(letter)["MessageAttributes"]) > _MAX_ATTRIBUTES:
        return "no room for another message attribute"
    return "too large with another message attribute" if _size(letter) > _MAX_BYTES else None


def to_file(file: IO[str]) -> Keep:
    """Return a function that appends letters to a file, one per line, and flushes them to the disk."""
    lock = threading.Lock()
    is_regular = S_ISREG(os.fstat(file.fileno()).st_mode)  # a pipe or a terminal cannot be flushed to a disk
    if is_regular and _ends_within_a_line(file.name):
        file.write("\n")

    def write(letters: Sequence[DeadLetter]) -> dict[int, str]:
        with lock:
            file.writelines(f"{message_json(letter.message)}\n" for letter in letters)
            file.flush()
            if is_regular:
                os.fsync(file.fileno())
        return {}

    return write


def _ends_within_a_line(path: str) -> bool:
    """Tell whether an earlier run was killed while it wrote to a file."""
    with open(path, "rb") as file:  # noqa: PTH123
        if file.seek(0, os.SEEK_END) == 0:
            return False
        file.seek(-1, os.SEEK_END)
        return file.read() != b"\n"


def to_nowhere(_letters: Sequence[DeadLetter]) -> dict[int, str]:
    """Keep no copy."""
    return {}


def message_json(message: Message) -> str:
    """Return a message as `aws sqs receive-message` prints it, on one line and without its receipt handle."""
    kept = {name: value for name, value in message.items() if name != "ReceiptHandle"}
    return json.dumps(kept, default=lambda binary: b64encode(binary).decode())


def _size(letter: DeadLetter) -> int:
    message = _redriven(letter)
    attributes = message["MessageAttributes"].items()
    return len(message["MessageBody"].encode(errors="replace")) + sum(
        len(name) + len(value["DataType"]) + len(value.get("StringValue", "").encode() or value.get("BinaryValue", b""))
        for name, value in attributes
    )
