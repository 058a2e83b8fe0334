"""`make rebuild`: memory and speed of a rebuild of 100,000 events in fresh processes, and whether it is right."""

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from event_service.config import DatabaseSettings
from event_service.migrate.schema import migrate
from local.stack import create_database, running_stack, stop_when_terminated
from tests.support.aws import make_aws
from tests.support.histories import history, seed
from tests.support.tables import count_notifications

EVENTS = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
MAX_MEGABYTES = 300
MEASURED = """
import resource, sys
from event_service.rebuild.__main__ import main
status = main(sys.argv[1:])
own = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
print(f"peak kB: {own.split()[1]} and {children} the largest worker")
sys.exit(status)
"""


def main() -> int:
    """Seed, rebuild, verify, and print the figures; return the exit status."""
    stop_when_terminated()
    with tempfile.TemporaryDirectory() as directory, running_stack(Path(directory)) as stack:
        url = create_database(stack, "rebuilt")
        migrate(DatabaseSettings(url=url))
        os.environ.update(stack.environment())
        aws = make_aws(stack)
        environment = os.environ | {"DATABASE_URL": url, "EVENT_STORE_TABLE": aws.table}
        print(f"seeding {EVENTS:,} events")
        seed(stack.endpoint_url, aws.table, history(EVENTS, EVENTS // 10))
        command = [sys.executable, "-c", MEASURED, "--workers", "2", "--segments", "2"]
        started = time.monotonic()
        output = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
        seconds = time.monotonic() - started
        print(output)
        own, worker = map(int, re.findall(r"peak kB: (\d+) and (\d+)", output)[0])
        megabytes = (own + 2 * worker) / 1024
        verified = subprocess.run([*command, "--verify"], env=environment, check=False, stdout=subprocess.DEVNULL)
        rows = count_notifications(url)
        print(f"{EVENTS / seconds:,.0f} events/s, {megabytes:.0f} MB in all three processes, {rows:,} rows")
        return int(verified.returncode != 0 or megabytes > MAX_MEGABYTES or rows != EVENTS // 10)


if __name__ == "__main__":
    sys.exit(main())
