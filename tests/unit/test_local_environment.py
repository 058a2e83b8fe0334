"""`make local` tells other programs how to reach its stack."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from local import serve
from local.deployment import Deployment
from local.stack import Stack


def test_a_shell_can_read_where_the_local_stack_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Producers get the event topic, commands the event store and the database, whatever characters are in them."""
    monkeypatch.setattr(serve, "_ENVIRONMENT_FILE", tmp_path / "env.json")
    monkeypatch.setattr(serve, "_SHELL_FILE", tmp_path / "env.sh")
    outputs = {"EventStoreTableName": "events", "NotificationTopicArn": "arn:facts", "EventTopicArn": "arn:events"}
    outputs |= {"RejectedTopicArn": "arn:rejected", "EventQueueUrl": "queue", "EventDeadLetterQueueUrl": "letters"}

    serve._write_environment(Stack("postgresql://me@here/a'b $c", "http://127.0.0.1:1"), Deployment(outputs))

    names = ("EVENT_TOPIC_ARN", "EVENT_STORE_TABLE", "DATABASE_URL", "AWS_ENDPOINT_URL")
    program = f"import os; print(*(os.environ[name] for name in {names}), sep='|')"
    shell = f'. "{tmp_path}/env.sh"; "$PYTHON" -c "{program}"'
    environment = os.environ | {"PYTHON": sys.executable}
    output = subprocess.run(
        ["/bin/sh", "-c", shell], env=environment, capture_output=True, text=True, check=True
    ).stdout
    assert output == "arn:events|events|postgresql://me@here/a'b $c|http://127.0.0.1:1\n"
