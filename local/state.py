"""How other commands find a running `make local`: its stack and deployment, in a file."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

from local.deployment import ROOT, Deployment
from local.stack import Stack, answers

DIRECTORY = ROOT / ".local"
_FILE = DIRECTORY / "stack.json"


@contextmanager
def announced(stack: Stack, deployment: Deployment) -> Iterator[None]:
    """Let other commands find the stack while the context is open."""
    _FILE.write_text(json.dumps({"stack": vars(stack), "outputs": deployment.outputs}))
    try:
        yield
    finally:
        _FILE.unlink(missing_ok=True)


def running() -> tuple[Stack, Deployment] | None:
    """Return the stack and deployment of a running `make local`, or None."""
    if not _FILE.exists():
        return None
    state = json.loads(_FILE.read_text())
    stack = Stack(**state["stack"])
    # A killed process leaves its file behind.
    return (stack, Deployment(state["outputs"])) if answers(stack.endpoint_url) else None
