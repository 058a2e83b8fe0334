"""`python -m local.outage SECONDS`: stops the PostgreSQL of a running `make local`, and starts it again."""

import sys
import time

from local.progress import step
from local.stack import stopped_postgres
from local.state import DIRECTORY, running


def main(arguments: list[str]) -> int:
    """Stop PostgreSQL for as long as the command line says, or until Ctrl-C; return the exit status."""
    if len(arguments) != 1 or not arguments[0].isdecimal() or running() is None:
        print("usage: python -m local.outage SECONDS, while `make local` is running", file=sys.stderr)
        return 2
    with stopped_postgres(DIRECTORY / "postgres"):
        step(f"PostgreSQL is stopped for {arguments[0]} seconds; Ctrl-C starts it at once")
        try:
            time.sleep(int(arguments[0]))
        except KeyboardInterrupt:
            print()
    step("PostgreSQL is running again")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
