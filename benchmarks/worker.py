"""One measurement in a fresh process, printed as JSON: `python -m benchmarks.worker HANDLER BATCH BATCHES`."""

import contextlib
import importlib
import io
import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

_WARM_UP_BATCHES = 2
_DATA = {
    "date": "2026-11-24T07:54:00.000Z",
    "isRecurring": False,
    "notifyOffset": 0,
    "notifyType": "push",
    "message": "Stand-up meeting",
    "url": None,
    "createdAt": "2026-11-23T06:54:06.410Z",
    "updatedAt": "2026-11-23T06:54:06.410Z",
}


def batch_of(size: int, number: int) -> list[dict[str, Any]]:
    """Return new reminders as SQS delivers them."""
    return [_record(f"reminder-{number}-{index}", f"user-{index % 100}") for index in range(size)]


def _record(name: str, user: str) -> dict[str, Any]:
    data = {"id": name, "userId": user} | _DATA
    event = {"userId": user, "userEmail": f"{user}@example.com", "itemId": name, "eventData": data}
    attributes = {"eventType": "reminder:created", "eventItemType": "reminder"}
    notification = {
        "Type": "Notification",
        "MessageId": f"message-{name}",
        "TopicArn": "arn:aws:sns:us-east-1:000000000000:events",
        "Message": json.dumps(event),
        "Timestamp": "2026-11-23T06:54:06.438Z",
        "MessageAttributes": {key: {"Type": "String", "Value": value} for key, value in attributes.items()},
    }
    return {
        "messageId": f"message-{name}",
        "receiptHandle": "handle",
        "body": json.dumps(notification, indent=2),
        "attributes": {"ApproximateReceiveCount": "1", "SentTimestamp": "1795416846438"},
        "messageAttributes": {},
        "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:us-east-1:000000000000:events",
        "awsRegion": "us-east-1",
    }


def main() -> None:
    """Warm up, then handle batches; measure the handler only."""
    handler = importlib.import_module(sys.argv[1]).lambda_handler
    size, batches = int(sys.argv[2]), int(sys.argv[3])
    context = SimpleNamespace(
        get_remaining_time_in_millis=lambda: 900_000,
        function_name="benchmark",
        memory_limit_in_mb=512,
        invoked_function_arn="arn:aws:lambda:us-east-1:000000000000:function:benchmark",
        aws_request_id="request",
    )
    seconds, cpu_seconds, log = [], 0.0, io.StringIO()
    for number in range(_WARM_UP_BATCHES + batches):
        warm_up = number < _WARM_UP_BATCHES
        records = batch_of(1 if warm_up else size, number)
        if number == _WARM_UP_BATCHES:
            log = io.StringIO()
        with contextlib.redirect_stdout(log):
            cpu, started = time.process_time(), time.perf_counter()
            answer = handler({"Records": records}, context)
            took, cpu = time.perf_counter() - started, time.process_time() - cpu
        assert answer == {"batchItemFailures": []}, answer
        if not warm_up:
            seconds.append(took)
            cpu_seconds += cpu
    status = Path("/proc/self/status").read_text()
    peak = int(status.partition("VmHWM:")[2].split()[0]) / 1024
    logged = len(log.getvalue().encode())
    result = {"seconds": seconds, "cpu_seconds": cpu_seconds, "peak_mib": peak, "log_bytes": logged}
    print(json.dumps(result | {"events": size * batches + _WARM_UP_BATCHES}))


if __name__ == "__main__":
    main()
