"""Where a running `make local` can be found: its stack and what is deployed on it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

from local.deployment import ROOT, Deployment
from local.stack import Stack, answers

DIRECTORY = ROOT / ".local"
_FILE = DIRECTORY / "stack.json"


@contextmanager
def announced(stack: Stack, deployment: Deployment) -> Iterator[None]:
    """Let others find the stack as long as it runs."""
    _FILE.write_text(json.dumps({"stack": vars(stack), "outputs": deployment.outputs}))
    try:
        yield
    finally:
        _FILE.unlink()


def running() -> tuple[Stack, Deployment] | None:
    """Return the stack of a running `make local`, or None where there is none."""
    if not _FILE.exists():
        return None
    state = json.loads(_FILE.read_text())
    stack = Stack(**state["stack"])
    # A process that was killed leaves its file behind.
    return (stack, Deployment(state["outputs"])) if answers(stack.endpoint_url) else None
