"""Erases the personal data in one item of the event store."""

from contextlib import suppress
from typing import Any

from event_service.adapters.event_items import (
    EVENT_DATA,
    EVENT_DATA_ENCODING,
    FORGOTTEN_AT,
    PK,
    SK,
    USER_EMAIL,
    Item,
    data_attributes,
    data_of,
    key_of,
)
from event_service.codec.instants import now
from event_service.domain.redaction import redact


def emptied(item: Item) -> Item:
    """Return an item without personal data; everything else stays, including how it is compressed.

    Raises one of `ITEM_ERRORS` if the item cannot be read.
    """
    left = {name: value for name, value in item.items() if name != USER_EMAIL}
    data = data_of(item)
    if (redacted := redact(data)) == data:
        return left
    return {name: value for name, value in left.items() if name != EVENT_DATA_ENCODING} | data_attributes(redacted)


def replace_item(client: Any, table: str, left: Item) -> None:
    """Replace an item with what is left of it, and mark it as forgotten, unless it has expired."""
    encoded = EVENT_DATA_ENCODING in left
    with suppress(client.exceptions.ConditionalCheckFailedException):
        values = {":data": left[EVENT_DATA], ":now": {"S": now()}}
        client.update_item(
            TableName=table,
            Key=key_of(left[PK]["S"], left[SK]["S"]),
            UpdateExpression=f"SET {EVENT_DATA} = :data, {FORGOTTEN_AT} = :now"
            + (
                f", {EVENT_DATA_ENCODING} = :gzip REMOVE {USER_EMAIL}"
                if encoded
                else f" REMOVE {USER_EMAIL}, {EVENT_DATA_ENCODING}"
            ),
            ConditionExpression=f"attribute_exists({PK})",
            ExpressionAttributeValues=values | ({":gzip": left[EVENT_DATA_ENCODING]} if encoded else {}),
        )
