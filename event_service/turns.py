"""In which order the records of a batch are processed, so that a record that kills the function cannot stop the others.

A record that ends the process, or uses up its memory or time, takes its neighbours with it, delivery after delivery.
Records that come back again and again are therefore processed after the fresh ones, and in two halves that change with
each delivery.
"""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any, Final

_FRESH_DELIVERIES: Final = 3


def turns(records: Sequence[Mapping[str, Any]]) -> list[list[int]]:
    """Return the numbers of the records in the order of processing: the fresh ones, then each half of the others."""
    fresh: list[int] = []
    halves: tuple[list[int], list[int]] = ([], [])
    for number, record in enumerate(records):
        deliveries = _receive_count(record)
        if deliveries <= _FRESH_DELIVERIES:
            fresh.append(number)
        else:
            halves[_half(str(record.get("messageId")), deliveries)].append(number)
    return [turn for turn in (fresh, *halves) if turn]


def _half(message_id: str, deliveries: int) -> int:
    """Return 0 or 1: of two deliveries in a row each record is in the first half once, then the halves change."""
    level, side = divmod(deliveries, 2)
    bits = int.from_bytes(sha256(message_id.encode(errors="replace")).digest())
    return (bits >> level % 256 & 1) ^ side


def _receive_count(record: Mapping[str, Any]) -> int:
    attributes = record.get("attributes")
    count = attributes.get("ApproximateReceiveCount") if isinstance(attributes, dict) else None
    return int(count) if isinstance(count, str) and count.isascii() and count.isdecimal() else 1
