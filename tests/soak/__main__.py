"""`make soak`: prints its progress and a summary; the exit status is 0 if nothing was lost or doubled."""

import argparse
import os
import sys
import tempfile
from pathlib import Path

from event_service.config import DatabaseSettings
from event_service.migrate.schema import migrate
from local.progress import step, table
from local.stack import create_database, running_stack, stop_when_terminated
from tests.soak.soak import Soak, soak


def main() -> int:
    """Run the soak; return the exit status."""
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0, help="how long events are sent (default: 5)")
    parser.add_argument("--seed", type=int, default=1, help="of all that is random (default: 1)")
    arguments = parser.parse_args()
    stop_when_terminated()
    try:
        with (
            tempfile.TemporaryDirectory(prefix="event-service-") as directory,
            running_stack(Path(directory), step) as stack,
        ):
            url = create_database(stack, "soak")
            migrate(DatabaseSettings(url=url))
            os.environ.update(stack.environment())
            result = soak(stack, url, seconds=arguments.minutes * 60, seed=arguments.seed, progress=step)
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return 130
    _show(result)
    return 0 if result.is_clean() else 1


def _show(result: Soak) -> None:
    rows = [(label, f"{number:,}") for label, number in result.summary()]
    table("What became of it", ("", "number"), rows)
    for problem in result.problems[:20]:
        print(f"  ! {problem}")


if __name__ == "__main__":
    sys.exit(main())
