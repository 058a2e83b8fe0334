"""Two versions at once: a deployment migrates before the function changes, and a rollback leaves the migrations."""

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from local.stack import Stack, create_database
from tests.support.aws import Aws, function_environment
from tests.support.histories import record
from tests.support.tables import execute

ROOT = Path(__file__).parents[2]
MIGRATIONS = "event_service/migrations"

BATCH = [
    record("reminder:created", "user-a", "kept", 1),
    record("reminder:updated", "user-a", "kept", 3),
    record("reminder:created", "user-a", "gone", 1),
    record("reminder:deleted", "user-a", "gone", 2),
]
LATE = record("reminder:updated", "user-a", "kept", 2)
HANDLED = """
import json, sys
from types import SimpleNamespace
from event_service.handler import lambda_handler
context = SimpleNamespace(get_remaining_time_in_millis=lambda: 10_000)
answers = [lambda_handler({"Records": records}, context) for records in json.load(sys.stdin)]
json.dump(answers, sys.stderr)
"""


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The code of the last commit before the newest change of the migrations, which may not be committed yet."""
    if git("status", "--porcelain", "--", MIGRATIONS).stdout:
        commit = "HEAD"
    else:
        commit = git("log", "-1", "--format=%H^", "--", MIGRATIONS).stdout.decode().strip()
    archive = git("archive", commit, "event_service")
    if not commit or archive.returncode:
        pytest.skip("the code before the newest migration is not known: this is not a git clone, or it has no history")
    directory = tmp_path_factory.mktemp("before")
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        files.extractall(directory, filter="data")
    return directory


def git(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    program = shutil.which("git")
    if program is None or not (ROOT / ".git").exists():
        return subprocess.CompletedProcess(arguments, 128, b"", b"")
    return subprocess.run([program, "-C", str(ROOT), *arguments], capture_output=True, check=False)


def run(code: Path, environment: dict[str, str], *arguments: str, given: object = None) -> str:
    """Run Python on a version of the code; return what it printed on standard error."""
    process = subprocess.run(
        [sys.executable, *arguments],
        cwd=code,
        env=os.environ | environment | {"PYTHONPATH": str(code)},
        input=json.dumps(given),
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    return process.stderr


def works(code: Path, schema: Path, stack: Stack, aws: Aws, name: str) -> None:
    """Migrate a database with one version, and let the function of another handle events, some of them twice."""
    environment = function_environment(stack, aws, create_database(stack, name))
    run(schema, environment, "-m", "event_service.migrate")
    answers = run(code, environment, "-c", HANDLED, given=[BATCH, [LATE], BATCH])
    assert json.loads(answers.splitlines()[-1]) == [{"batchItemFailures": []}] * 3
    told = 'SELECT "itemId", "notificationData"::json ->> \'message\' FROM "notification"'
    assert execute(environment["DATABASE_URL"], told) == [("kept", "3")]
    facts = aws.sqs.get_queue_attributes(QueueUrl=aws.facts_queue_url, AttributeNames=["ApproximateNumberOfMessages"])
    assert facts["Attributes"]["ApproximateNumberOfMessages"] == "4"
    assert execute(environment["DATABASE_URL"], "SELECT count(*) FROM outbox") == [(0,)]


def test_the_function_before_the_newest_migration_works_with_it(before: Path, stack: Stack, aws: Aws) -> None:
    """Until the deployment has replaced it, and after a rollback."""
    works(before, ROOT, stack, aws, "newer_schema")


def test_the_function_works_with_the_schema_before(before: Path, stack: Stack, aws: Aws) -> None:
    """A deployment may update either of them first."""
    works(ROOT, before, stack, aws, "older_schema")


def test_the_function_works_without_the_newest_migration(stack: Stack, aws: Aws, tmp_path: Path) -> None:
    """The same without any history: nothing that the function calls may have come with it."""
    shutil.copytree(ROOT / "event_service", tmp_path / "event_service")
    max((tmp_path / MIGRATIONS).glob("*.sql")).unlink()
    works(ROOT, tmp_path, stack, aws, "without_the_newest")
