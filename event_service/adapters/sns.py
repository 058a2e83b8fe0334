"""How messages are published to a topic of SNS, as all topics have it."""

from collections.abc import Sequence
from typing import Any, Final

from event_service.adapters.batching import is_retryable
from event_service.errors import Backend, Unavailable

# https://docs.aws.amazon.com/sns/latest/api/API_PublishBatch.html
MESSAGES_PER_REQUEST: Final = 10
MAX_REQUEST_BYTES: Final = 256 * 1024  # of all its messages, and of each


def publish_batch(
    client: Any, arn: str, backend: Backend, messages: Sequence[tuple[str, dict[str, Any]]]
) -> list[Unavailable | None]:
    """Publish up to 10 messages, each a body and its attributes; return for each None, or why SNS did not accept it.

    SNS answers with status 200 and names the messages that failed.

    Raises:
        botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError, ValueError: as `data_plane.Sns`.

    """
    entries = [
        {"Id": str(index), "Message": body, "MessageAttributes": attributes}
        for index, (body, attributes) in enumerate(messages)
    ]
    answer = client.publish_batch(TopicArn=arn, PublishBatchRequestEntries=entries)
    accepted = {success["Id"] for success in answer.get("Successful", [])}
    failed = {failure["Id"]: failure for failure in answer.get("Failed", [])}
    ids = (entry["Id"] for entry in entries)
    return [None if id_ in accepted else _failure(failed.get(id_, {}), backend) for id_ in ids]


def _failure(failure: dict[str, Any], backend: Backend) -> Unavailable:
    code = failure.get("Code", "")
    retryable = is_retryable(code) or not failure.get("SenderFault", False)
    return Unavailable(backend, f"answered {code}", retryable=retryable)
