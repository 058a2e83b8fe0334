"""Rebuilds the notifications from the event store alone: `python -m event_service.rebuild`.

The event store is scanned in concurrent segments, and the position is stored after each page. Run an interrupted or
killed rebuild again to resume it. The service may be running: for both, the event with the greatest precedence decides
an item. Nothing is published, and nothing becomes due.

Rows are written, never removed: --verify names those that no stored event accounts for.

With --stack, the stack's operations function does this next to the data, and nothing but that name is needed here.

Exit status: 0 done, 1 --verify found differences, 2 the rebuild could not be done, 75 the time given with --seconds was
up (run it again to resume).
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Final

from event_service.cli import add_seconds, add_stack, deadline_of, make_patient_client, run
from event_service.config import DatabaseSettings, event_store_table
from event_service.console import make_parser
from event_service.rebuild.progress import DEFAULT_SEGMENTS, Progress, RebuildJob
from event_service.rebuild.rebuild import compare, rebuild
from event_service.remote import drive

_MOST: Final = 1000  # workers, or segments: more do not help


def main(arguments: Sequence[str] | None = None) -> int:
    """Rebuild what the environment names; return the exit status."""
    parser = make_parser(
        "rebuild", __doc__, "EVENT_STORE_TABLE, DATABASE_URL (or DATABASE_SECRET_ARN, _HOST, _NAME), AWS_*"
    )
    workers = min(os.cpu_count() or 1, 8)
    parser.add_argument("--workers", type=_positive, help=f"processes ({workers}); with --stack, it is always 1")
    parser.add_argument("--segments", type=_positive, default=DEFAULT_SEGMENTS, help="of the scan (%(default)s)")
    parser.add_argument("--restart", action="store_true", help="do not resume an interrupted rebuild")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--dry-run", action="store_true", help="change no notification, and report what would change")
    mode.add_argument("--verify", action="store_true", help="the same, and fail if there is any difference")
    add_stack(parser)
    add_seconds(parser)
    options = parser.parse_args(arguments)
    options.workers = options.workers or workers
    return run("rebuild", lambda: _drive(options) if options.stack else _rebuild(options))


def _drive(options: argparse.Namespace) -> int:
    mode = ["--dry-run"] if options.dry_run else ["--verify"] if options.verify else []
    command = ["rebuild", f"--segments={options.segments}", *mode]
    return drive(options.stack, command, begin=["--restart"] if options.restart else [])


def _positive(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and 1 <= int(text) <= _MOST):
        raise argparse.ArgumentTypeError(f"is not a whole number from 1 to {_MOST:,}")
    return int(text)


def _rebuild(options: argparse.Namespace) -> int:
    job = RebuildJob(
        DatabaseSettings.from_environment(os.environ),
        event_store_table(os.environ),
        workers=options.workers,
        segments=options.segments,
        restart=options.restart,
        deadline=deadline_of(options),
    )
    # DynamoDB counts the items about every six hours.
    report = _print_progress(make_patient_client("dynamodb").describe_table(TableName=job.source)["Table"]["ItemCount"])
    progress, differences = compare(job, report) if options.dry_run or options.verify else (rebuild(job, report), [])
    print(f"rebuild: {progress.events:,} events, {progress.refused:,} of them refused, in {progress.seconds:.1f} s")
    for difference in differences:
        more = difference.count - len(difference.ids)
        print(
            f"rebuild: {difference.count:,} {difference.kind}:", *difference.ids, f"and {more:,} more" if more else ""
        )
    if (options.dry_run or options.verify) and not differences:
        print("rebuild: the notifications agree with the event store")
    return int(options.verify and bool(differences))


def _print_progress(total: int) -> Callable[[Progress], None]:
    started = time.monotonic()
    before: list[int] = []

    def report(progress: Progress) -> None:
        before.append(progress.scanned)  # the rate leaves out what was done before an interruption
        rate = (progress.scanned - before[0]) / (time.monotonic() - started)
        speed = f", {rate:,.0f} items/s" if rate else ""  # the first report has none
        left = f", about {(total - progress.scanned) / rate:.0f} s left" if rate and total > progress.scanned else ""
        of = f" of about {total:,}" if total else ""
        print(f"rebuild: {progress.scanned:,}{of} items, {progress.events:,} events{speed}{left}")

    return report


if __name__ == "__main__":
    sys.exit(main())
