"""Lists, shows, redrives and discards dead letters: `python -m event_service.dead_letters COMMAND`.

  list                 how many there are of each reason and type; --json: one JSON object per message and line
  show MESSAGE_ID      a message, and why it would be rejected now
  redrive FILTER...    sends messages back to the event queue and deletes those that it accepted
  discard FILTER...    deletes messages; --to FILE: after they were written to it, one JSON object per line

Filters: --reason (none: failed too often, without being rejected), --type, --message, --would-pass, or --all. A message
has to match each kind of filter given, and one of the values of each kind. A MESSAGE_ID is the one in the function's
log, or the one in the queue.

Reading hides the messages from other readers while the command runs, and leaves alone those that others have received.
After an interruption nothing is lost: run the same command again. If it was killed, messages may stay hidden for 10
minutes.

Exit status: 0 done, 1 some messages could not be moved, the message was not found or the answer was no, 2 error.
"""

import argparse
import json
import os
import sys
import threading
from collections.abc import Callable, Collection, Mapping, Sequence

from event_service.cli import make_parser, make_patient_client, run, stack_output
from event_service.config import required
from event_service.dead_letters.letters import DeadLetter, read_letter
from event_service.dead_letters.moving import Keep, Moved, message_json, move, to_file, to_nowhere, to_queue
from event_service.dead_letters.queue import Message, Queue
from event_service.dead_letters.selection import Groups, Selection

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
    groups, lock = Groups(), threading.Lock()

    def visit(messages: list[Message]) -> Collection[str]:
        letters = [*map(read_letter, messages)]
        with lock:
            for letter in letters:
                groups.add(letter)
                if options.json:
                    print(json.dumps(letter.summary()))
        return ()

    queue = _queue("DEAD_LETTER_QUEUE_URL", options)
    queue.walk(visit, _progress(queue))
    if not options.json:
        print(f"{groups.table()}\n{groups.count:,} dead letters" if groups.count else "no dead letters")
    return 0


def _show(options: argparse.Namespace) -> int:
    found, stop = list[DeadLetter](), threading.Event()

    def visit(messages: list[Message]) -> Collection[str]:
        for letter in map(read_letter, messages):
            if options.message_id in letter.ids:
                found.append(letter)
                stop.set()
        return ()

    queue = _queue("DEAD_LETTER_QUEUE_URL", options)
    queue.walk(visit, _progress(queue), stop)
    for letter in found[:1]:
        problem = letter.problem and f"{letter.problem.reason}: {letter.problem}"
        print(
            json.dumps(
                letter.summary() | {"problem": problem, "message": json.loads(message_json(letter.message))}, indent=2
            )
        )
    if not found:
        print(f"dead_letters: there is no message {options.message_id}", file=sys.stderr)
    return 0 if found else 1


def _redrive(options: argparse.Namespace) -> int:
    return _act(options, "redrive", "redriven", to_queue(_queue("EVENT_QUEUE_URL", options)))


def _discard(options: argparse.Namespace) -> int:
    if options.to is None:
        return _act(options, "discard, without a copy,", "discarded", to_nowhere)
    with open(options.to, "a", encoding="utf-8") as file:  # noqa: PTH123  # may be /dev/stdout
        return _act(options, "discard", "discarded", to_file(file))


def _act(options: argparse.Namespace, verb: str, done: str, keep: Keep) -> int:
    queue = _queue("DEAD_LETTER_QUEUE_URL", options)
    selection = Selection(
        frozenset(options.reason), frozenset(options.type), frozenset(options.message), options.would_pass
    )
    if not options.yes:
        groups = _count(queue, selection)
        if not groups.count:
            print("no dead letters match", file=sys.stderr)
            return 0
        question = f"{groups.table()}\n{verb} these {groups.count:,} messages? [y/N] "
        print(question, end="", file=sys.stderr, flush=True)
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            return 1
    moved = move(queue, selection, keep, _progress(queue))
    print(f"{done} {moved.count:,} messages", file=sys.stderr)
    return _report(moved)


def _count(queue: Queue, selection: Selection) -> Groups:
    groups, lock = Groups(), threading.Lock()

    def visit(messages: list[Message]) -> Collection[str]:
        letters = [*map(read_letter, messages)]
        with lock:
            for letter in filter(selection.has, letters):
                groups.add(letter)
        return ()

    queue.walk(visit, _progress(queue))
    return groups


def _report(moved: Moved) -> int:
    for code, count in moved.failures.items():
        print(f"dead_letters: {count:,} messages were not accepted ({code}); they are still there", file=sys.stderr)
    if moved.left:
        print(f"dead_letters: {moved.left:,} messages were copied but could not be deleted", file=sys.stderr)
    return 1 if moved.failures or moved.left else 0


def _progress(queue: Queue) -> Callable[[int], None]:
    """Return how progress is shown: on a terminal, a line that is overwritten."""
    if not sys.stderr.isatty():
        return lambda _: None
    total = queue.count()
    return lambda count: print(f"\r{count:,} of about {total:,} messages\x1b[K\r", end="", file=sys.stderr, flush=True)


def _queue(variable: str, options: argparse.Namespace) -> Queue:
    environment: Mapping[str, str] = os.environ
    if options.stack:
        environment = {variable: stack_output(options.stack, _OUTPUTS[variable])}
    return Queue(make_patient_client("sqs"), required(environment, variable))


_COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "list": _list,
    "show": _show,
    "redrive": _redrive,
    "discard": _discard,
}


if __name__ == "__main__":
    sys.exit(main())
