"""Bodies that no honest producer sends fail alone, with a reason, and without personal data in the log."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from event_service.handler import lambda_handler
from tests.properties.hostile_bodies import EMAIL, SECRET, extremes, mutilated
from tests.support.aws import Aws
from tests.support.messages import CREATED, legacy, raw, reminder_data
from tests.support.sampling import sample

BODIES = 10_000
BATCH = 500
PATIENT = SimpleNamespace(get_remaining_time_in_millis=lambda: 60_000)
MEMORY_MIB = 512  # of the function, see template.yaml


def neighbour(number: int) -> dict[str, Any]:
    item = f"neighbour-{number}"
    return raw(legacy(eventData=reminder_data(id=item), itemId=item), CREATED, message_id=item)


def handle(records: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> tuple[set[str], dict[str, Any]]:
    """Return the message ids that failed, and their lines of the log by message id."""
    answer = lambda_handler({"Records": records}, PATIENT)
    output = capsys.readouterr().out
    assert EMAIL not in output
    assert SECRET not in output
    lines = [json.loads(line) for line in output.splitlines()]
    failures = [line for line in lines if line.get("message") == "record failed"]
    failed = {failure["itemIdentifier"] for failure in answer["batchItemFailures"]}
    assert failed == {line["message_id"] for line in failures}
    assert len(failed) == len(failures)
    return failed, {line["message_id"]: line for line in failures}


@pytest.mark.parametrize("seed", sample(range(BODIES // BATCH), 4))
def test_mutilated_bodies_fail_alone_and_with_a_reason(
    service_environment: dict[str, str], aws: Aws, capsys: pytest.CaptureFixture[str], seed: int
) -> None:
    """Among 500 of them a good record goes through; no rejection without field and reason, no data in the log."""
    records = [*mutilated(BATCH, seed)]
    records.insert(BATCH // 2, neighbour(seed))
    failed, lines = handle(records, capsys)
    assert f"neighbour-{seed}" not in failed, lines
    assert BATCH // 10 < len(failed) < BATCH, "about half of the mutilations are supposed to be harmful"
    for line in lines.values():
        assert line["field"], line
        assert line["error"].startswith(f"{line['field']}: ")
        assert line["reason"] not in ("internal", "event_store", "notifications", "notification_topic", "deadline"), (
            line
        )
    # Accepted records were done for good: delivered again, they do not fail.
    assert handle(records, capsys)[0] == failed


def handle_extremes() -> None:
    """Handle a mebibyte of every shape, four at a time as a batch of Lambda's 6 MB has room for, with a neighbour.

    Print the log, the failed records of each batch, and this process's status.
    """
    for number, record in enumerate(extremes()):
        batch = [record | {"messageId": f"{record['messageId']} {copy}"} for copy in range(4)]
        answer = lambda_handler({"Records": [*batch, neighbour(number)]}, PATIENT)
        print(json.dumps({"failed": [failure["itemIdentifier"] for failure in answer["batchItemFailures"]]}))
    print(Path("/proc/self/status").read_text())


def test_extremes_fail_alone_and_with_a_reason_within_the_memory_of_the_function(
    service_environment: dict[str, str],
) -> None:
    """A separate process, whose memory is measured, handles them all."""
    code = f"from {__name__} import handle_extremes; handle_extremes()"
    result = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": "."}, capture_output=True, text=True, check=True
    )
    lines = [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]
    failures = [line for line in lines if line.get("message") == "record failed"]
    failed = [id_ for line in lines for id_ in line.get("failed", ())]
    assert [line["message_id"] for line in failures] == failed
    assert len(failed) > len([*extremes()])
    assert not any(id_.startswith("neighbour") for id_ in failed)
    assert [line for line in failures if not line["field"] or line["reason"] == "internal"] == []
    # Not ru_maxrss: a process that pytest starts takes over pytest's own.
    peak = re.search(r"^VmHWM:\s+(\d+) kB$", result.stdout, re.MULTILINE)
    assert peak is not None
    assert int(peak[1]) < MEMORY_MIB * 1024
