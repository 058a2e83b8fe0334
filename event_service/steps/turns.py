"""In which order the records of a batch are processed, so that one that kills the function cannot stop the others.

A record that ends the process, or uses up its memory or time, takes down what is processed with it or after it, at each
of its deliveries. Therefore records that come back again and again follow the others. They are processed a few at a
time, in an order that changes with each delivery.
"""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any, Final

# Up to here, records stay together, because the events of one item in a batch are to be applied oldest first.
_FRESH_DELIVERIES: Final = 3
_SUSPECT_TURNS: Final = 16  # a turn takes about 40 ms, because it sends its own requests


def turns(records: Sequence[Mapping[str, Any]]) -> list[list[int]]:
    """Return the numbers of the records, in turns, in the order of processing."""
    deliveries = {number: receive_count(record) for number, record in enumerate(records)}
    fresh = [number for number, count in deliveries.items() if count <= _FRESH_DELIVERIES]
    suspects = sorted(
        (number for number, count in deliveries.items() if count > _FRESH_DELIVERIES),
        key=lambda number: (deliveries[number], _place(records[number], deliveries[number])),
    )
    size = max(1, -(-len(suspects) // _SUSPECT_TURNS))
    return [
        *([fresh] if fresh else []),
        *(suspects[at : at + size] for at in range(0, len(suspects), size)),
    ]


def _place(record: Mapping[str, Any], deliveries: int) -> int:
    """Return where a record comes among those delivered equally often.

    Of two deliveries in a row, the second has the reverse order: it spares what the first took down.
    Then the order is another.
    """
    level, is_second = divmod(deliveries, 2)
    digest = sha256(f"{level} {record.get('messageId')}".encode(errors="replace")).digest()
    place = int.from_bytes(digest[:8])
    return -place if is_second else place


def receive_count(record: Mapping[str, Any]) -> int:
    """Return how often a record was delivered, this time included."""
    attributes = record.get("attributes")
    count = attributes.get("ApproximateReceiveCount") if isinstance(attributes, dict) else None
    return int(count) if isinstance(count, str) and count.isascii() and count.isdecimal() else 1
