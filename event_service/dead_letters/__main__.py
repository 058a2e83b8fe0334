"""Lists, shows, redrives and discards dead letters: `python -m event_service.dead_letters COMMAND`.

  list                 how many there are of each reason and type; --json: one JSON object per message and line
  show MESSAGE_ID      a message, and why it would be rejected now
  redrive FILTER...    sends messages back to the event queue and deletes those that it accepted
  discard FILTER...    deletes messages; --to FILE: after they were written to it, one JSON object per line

Filters: --reason (none: failed too often, without being rejected), --type, --message, --would-pass, or --all. A message
must match each kind of filter given, and one of the values of each kind. A MESSAGE_ID is the one in the function's log,
or the one in the queue.

The messages that the command reads are hidden from other readers while it runs; it skips those that others have
received. After an interruption nothing is lost: run the same command again. If it was killed, messages may stay hidden
for 10 minutes.

Exit status: 0 done, 1 some messages could not be moved, the message was not found or the answer was no, 2 error.
"""

import argparse
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from typing import TypeVar

from event_service.cli import make_patient_client, run, stack_output
from event_service.config import required
from event_service.console import make_parser
from event_service.dead_letters.groups import grouped, table, total
from event_service.dead_letters.letters import NO_REASON, DeadLetter, read_letter
from event_service.dead_letters.moving import (
    MOVED,
    NOT_SELECTED,
    Keep,
    message_json,
    move,
    to_file,
    to_nowhere,
    to_queue,
)
from event_service.dead_letters.queue import Queue

Visited = TypeVar("Visited")

_OUTPUTS = {"DEAD_LETTER_QUEUE_URL": "EventDeadLetterQueueUrl", "EVENT_QUEUE_URL": "EventQueueUrl"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; return the exit status."""
    parser = make_parser("dead_letters", __doc__, "DEAD_LETTER_QUEUE_URL and, to redrive, EVENT_QUEUE_URL, or --stack")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--stack", metavar="NAME", help="the stack whose queues are used, instead of the environment's")
    filters = argparse.ArgumentParser(add_help=False)
    filters.add_argument("--reason", action="append", default=[], metavar="R", help="the reason of the rejection")
    filters.add_argument("--type", action="append", default=[], metavar="T", help="the event type")
    filters.add_argument("--message", action="append", default=[], metavar="ID", help="the id of a message")
    filters.add_argument("--would-pass", action="store_true", help="only what the function would accept now")
    filters.add_argument("--all", action="store_true", help="every message")
    filters.add_argument("--yes", action="store_true", help="do not ask")
    commands = parser.add_subparsers(dest="command", required=True)
    listing = commands.add_parser("list", parents=[common])
    listing.add_argument("--json", action="store_true", help="one JSON object per message and line")
    commands.add_parser("show", parents=[common]).add_argument("message_id", metavar="MESSAGE_ID")
    commands.add_parser("redrive", parents=[common, filters])
    discarding = commands.add_parser("discard", parents=[common, filters])
    discarding.add_argument("--to", metavar="FILE", help="where the messages are written first; appended to")
    options = parser.parse_args(arguments)
    if options.command in ("redrive", "discard") and options.all is bool(
        options.reason or options.type or options.message or options.would_pass
    ):
        parser.error("give filters, or --all")
    return run("dead_letters", lambda: _COMMANDS[options.command](options))


def _list(options: argparse.Namespace) -> int:
    with closing(_letters(_queue("DEAD_LETTER_QUEUE_URL", options))) as letters:
        if options.json:
            for letter in letters:
                print(json.dumps(letter.summary()))
            return 0
        groups = grouped(letters)
    print(f"{table(groups)}\n{total(groups):,} dead letters" if groups else "no dead letters")
    return 0


def _show(options: argparse.Namespace) -> int:
    with closing(_letters(_queue("DEAD_LETTER_QUEUE_URL", options))) as letters:
        letter = next((each for each in letters if options.message_id in each.ids), None)
    if letter is None:
        print(f"dead_letters: there is no message {options.message_id}", file=sys.stderr)
        return 1
    problem = letter.problem and f"{letter.problem.reason}: {letter.problem}"
    shown = letter.summary() | {"problem": problem, "message": json.loads(message_json(letter.message))}
    print(json.dumps(shown, indent=2))
    return 0


def _redrive(options: argparse.Namespace) -> int:
    return _act(options, "redrive", "redriven", to_queue(_queue("EVENT_QUEUE_URL", options)))


def _discard(options: argparse.Namespace) -> int:
    if options.to is None:
        return _act(options, "discard, without a copy,", "discarded", to_nowhere)
    with open(options.to, "a", encoding="utf-8") as file:  # noqa: PTH123  # may be /dev/stdout
        return _act(options, "discard", "discarded", to_file(file))


def _act(options: argparse.Namespace, verb: str, done: str, keep: Keep) -> int:
    queue = _queue("DEAD_LETTER_QUEUE_URL", options)

    def is_selected(letter: DeadLetter) -> bool:
        return (
            (not options.reason or (letter.reason or NO_REASON) in options.reason)
            and (not options.type or letter.event_type in options.type)
            and (not options.message or not letter.ids.isdisjoint(options.message))
            and (not options.would_pass or letter.would_pass)
        )

    if not options.yes:
        groups = grouped(filter(is_selected, _letters(queue)))
        if not groups:
            print("no dead letters match", file=sys.stderr)
            return 0
        print(f"{table(groups)}\n{verb} these {total(groups):,} messages? [y/N] ", end="", file=sys.stderr, flush=True)
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            return 1
    outcomes = Counter(_with_progress(queue, move(queue, is_selected, keep)))
    print(f"{done} {outcomes[MOVED]:,} messages", file=sys.stderr)
    reasons = outcomes.keys() - {MOVED, NOT_SELECTED}
    for reason in sorted(reasons):
        print(f"dead_letters: {outcomes[reason]:,} messages are still there: {reason}", file=sys.stderr)
    return 1 if reasons else 0


def _letters(queue: Queue) -> Generator[DeadLetter, None, None]:
    """Yield every letter that nobody else has received."""
    return _with_progress(queue, queue.walk(lambda messages: ([*map(read_letter, messages)], ())))


def _with_progress(queue: Queue, batches: Generator[list[Visited], None, None]) -> Generator[Visited, None, None]:
    """Yield what is in the batches; on a terminal, show how many messages that were, on a line that is overwritten."""
    total_count = queue.count() if sys.stderr.isatty() else None
    count = 0
    with closing(batches):
        for batch in batches:
            yield from batch
            count += len(batch)
            if total_count is not None:
                print(f"\r{count:,} of about {total_count:,} messages\x1b[K\r", end="", file=sys.stderr, flush=True)


def _queue(variable: str, options: argparse.Namespace) -> Queue:
    url = stack_output(options.stack, _OUTPUTS[variable]) if options.stack else required(os.environ, variable)
    return Queue(make_patient_client("sqs"), url)


_COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "list": _list,
    "show": _show,
    "redrive": _redrive,
    "discard": _discard,
}


if __name__ == "__main__":
    sys.exit(main())
