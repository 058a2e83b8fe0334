"""The rebuild command in a separate process."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def command(environment: dict[str, str], *options: str) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-m", "event_service.rebuild", "--workers", "2", "--segments", "2", *options]
    return subprocess.Popen(
        arguments, env=os.environ | environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
