import ast
import re
from pathlib import Path

import pytest

import event_service

PACKAGE = Path(__file__).parents[2] / "event_service"

# Who may import whom. Imports run downwards only, and adapters know nothing of one another.
PURE = {
    "errors": set(),
    "instants": set(),
    "deadline": set(),
    "config": set(),
    "strict_json": {"errors"},
    "jsonb": {"errors", "strict_json"},
    "envelope": {"errors", "instants", "strict_json"},
    "events": {"instants"},
    "formats": {"envelope", "errors", "events", "instants", "strict_json"},
    "projection": {"errors", "events", "instants", "jsonb", "strict_json"},
    "facts": {"events", "instants", "strict_json"},
    "items": {"errors", "events", "facts", "instants", "strict_json"},
    "personal_data": {"items", "strict_json"},
    "replay": {"errors", "events", "instants", "items", "projection", "strict_json"},
    "timeline": {"events", "facts", "strict_json"},
    "timeline_text": {"timeline"},
}
ADAPTERS = {
    "aws": set(),
    "lean_clients": {"aws"},
    "batches": {"deadline", "errors"},
    "database": {"config", "deadline"},
    "event_store": {"batches", "deadline", "errors", "events", "instants", "items"},
    "event_history": {"batches", "deadline", "errors", "items", "strict_json", "timeline"},
    "notifications": {"database", "deadline", "errors", "events", "facts", "strict_json"},
    "publisher": {"batches", "deadline", "errors", "events", "facts"},
}
COMPOSITION = {
    "pipeline": PURE.keys() | {"event_store", "notifications", "publisher"},
    "handler": PURE.keys() | ADAPTERS.keys() | {"pipeline"},
    "api_models": {"instants"},
    "api_errors": {"errors", "event_history", "strict_json"},
    "api_app": {"api_errors", "api_models"},
    "api": PURE.keys() | {"api_app", "api_errors", "api_models", "aws", "catalogue", "event_history"},
    "history": {"commands", "config", "deadline", "event_history", "instants", "strict_json", "timeline"}
    | {"timeline_text"},
    "migrate": {"aws", "config", "database"},
    "commands": {"config", "database", "errors", "strict_json"},
    "rebuild_workers": set(),
    "rebuild_segment": PURE.keys() | {"aws", "batches", "commands", "database", "lean_clients", "rebuild_workers"},
    "rebuild": {"commands", "config", "database", "rebuild_segment", "rebuild_workers"},
    "erasure": PURE.keys() | {"commands", "database"},
    "forget": {"commands", "config", "erasure", "formats", "instants"},
    "catalogue_examples": set(),
    "catalogue_schemas": {"events", "formats"},
    "catalogue": {"catalogue_examples", "catalogue_schemas", "events"},
    "check": PURE.keys() | {"commands", "pipeline"},
    "deployment": {"config", "database", "migrate"},
}
ALLOWED: dict[str, set[str]] = {**PURE, **ADAPTERS, **COMPOSITION}
SDKS = {"boto3", "botocore", "psycopg", "aws_lambda_powertools", "os", "socket"}


def imports_of(module: str) -> tuple[set[str], set[str]]:
    """Return the modules of the package and the other packages that a module imports."""
    own, others = set(), set()
    for node in ast.walk(ast.parse((PACKAGE / f"{module}.py").read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "event_service":
            own |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("event_service."):
            own.add(node.module.split(".")[1])
        elif isinstance(node, ast.ImportFrom) and node.module:
            others.add(node.module.split(".")[0])
        elif isinstance(node, ast.Import):
            others |= {alias.name.split(".")[0] for alias in node.names}
    return own, others


def test_every_module_has_its_place() -> None:
    """A new module is entered here before it imports anything, and in the package's map."""
    assert {path.stem for path in PACKAGE.glob("*.py")} == {*ALLOWED, "__init__"}
    assert set(re.findall(r"\b[a-z_]+\b", event_service.__doc__ or "")) >= ALLOWED.keys()


@pytest.mark.parametrize("module", ALLOWED)
def test_a_module_imports_only_what_is_below_it(module: str) -> None:
    """The table above is the architecture."""
    own, _ = imports_of(module)
    assert own <= ALLOWED[module]


@pytest.mark.parametrize("module", PURE)
def test_a_pure_module_does_no_io(module: str) -> None:
    """It imports no SDK, no driver and nothing that reads the environment."""
    _, others = imports_of(module)
    assert not others & SDKS
