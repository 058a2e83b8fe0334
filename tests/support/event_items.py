"""Reads the items of the event store. All DynamoDB attribute names that several tests rely on are here."""

import gzip
from collections.abc import Iterator
from typing import Any

from boto3.dynamodb.types import TypeDeserializer

from tests.support.aws import Aws

Item = dict[str, Any]
Key = tuple[str, str]

FACT_TYPES = {"notification:created", "notification:updated", "notification:deleted"}
_KEYS_PER_REQUEST = 25


def scan(aws: Aws) -> Iterator[Any]:
    """Every item of the event store in DynamoDB's own format."""
    for page in aws.dynamodb.get_paginator("scan").paginate(TableName=aws.table, ConsistentRead=True):
        yield from page["Items"]


def items(aws: Aws) -> dict[Key, Item]:
    """The whole event store by key, with `eventData` as the text that was sent."""
    plain = [_plain(item) for item in scan(aws)]
    return {(item["pk"], item["sk"]): item | {"eventData": event_text(item)} for item in plain}


def facts(aws: Aws) -> list[Item]:
    """The stored facts, ordered by key."""
    return sorted((item for item in items(aws).values() if is_fact(item)), key=lambda item: (item["pk"], item["sk"]))


def events_of_user(aws: Aws, user: str) -> list[Item]:
    """The stored events of a user, without `recordedAt`, ordered by key; facts are not among them."""
    answer = aws.dynamodb.query(
        TableName=aws.table,
        IndexName="by-user",
        KeyConditionExpression="userId = :user",
        ExpressionAttributeValues={":user": {"S": user}},
    )
    found = [{name: value for name, value in item.items() if name != "recordedAt"} for item in answer["Items"]]
    return sorted(found, key=lambda item: (item["pk"]["S"], item["sk"]["S"]))


def readable_texts(aws: Aws) -> dict[Key, dict[str, Any]]:
    """The event store by key with every attribute as text, or None where it is not one; items may be damaged."""
    found: dict[Key, dict[str, Any]] = {}
    for item in scan(aws):
        texts: dict[str, Any] = {name: value.get("S") for name, value in item.items()}
        if "eventDataEncoding" in item:
            texts["eventData"] = gzip.decompress(item["eventData"]["B"]).decode()
        found[texts["pk"], texts["sk"]] = texts
    return found


def is_fact(item: Item) -> bool:
    """Whether an item of `items` is that of a fact, which has no user attribute."""
    return item["eventType"] in FACT_TYPES and "userId" not in item


def event_text(item: Item) -> str:
    """The text of an item's `eventData`, decompressed if it is compressed."""
    data = item["eventData"]
    if "eventDataEncoding" not in item:
        assert isinstance(data, str)
        return data
    assert item["eventDataEncoding"] == "gzip"
    return gzip.decompress(data.value).decode()


def delete_all(aws: Aws) -> None:
    """Empty the event store."""
    keys = [{name: item[name] for name in ("pk", "sk")} for item in scan(aws)]
    for start in range(0, len(keys), _KEYS_PER_REQUEST):
        deletions: Any = [{"DeleteRequest": {"Key": key}} for key in keys[start : start + _KEYS_PER_REQUEST]]
        aws.dynamodb.batch_write_item(RequestItems={aws.table: deletions})


def _plain(item: Any) -> Item:
    deserialize = TypeDeserializer().deserialize
    return {name: deserialize(value) for name, value in item.items()}
