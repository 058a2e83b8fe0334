"""`python -m local.sweep`: invokes the sweeper of a running `make local`, as its schedule does."""

import sys

from local.state import running


def main() -> int:
    """Print what the function answers; return the exit status."""
    state = running()
    if state is None:
        print("`make local` is not running", file=sys.stderr)
        return 2
    stack, deployment = state
    answer = stack.client("lambda").invoke(FunctionName=deployment["SweeperFunctionName"], Payload=b"{}")
    print(answer["Payload"].read().decode())
    return 1 if "FunctionError" in answer else 0


if __name__ == "__main__":
    sys.exit(main())
