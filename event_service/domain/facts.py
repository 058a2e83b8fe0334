"""Facts: the events by which the service tells subscribers what it changed."""

import re
from dataclasses import dataclass
from typing import Final, Literal
from uuid import uuid5

from event_service.codec.instants import Instant
from event_service.codec.json_text import dumps, json_object, raw_members, same_value
from event_service.domain.event import NAMESPACE, Effect, Event, EventKey

FactKind = Literal["created", "updated", "deleted"]

# SNS: a message with its attributes has at most 256 KiB.
# https://docs.aws.amazon.com/general/latest/gr/sns.html#limits_sns
MAX_MESSAGE_BYTES: Final = 256 * 1024
# SQS carries only the characters of XML 1.0, and an attribute with other control characters is refused on the way. In
# the body, JSON escapes stand for them.
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html
_UNPUBLISHABLE = "[^ -~\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"  # compiled on use: it costs 15 ms


@dataclass(frozen=True, slots=True)
class PendingFact:
    """A change to a notification, as the outbox holds it until its fact is stored and published.

    `pk` and `sk` are the key of the causing event; `notification` is the JSON object that becomes the fact's
    `eventData`.
    """

    pk: str
    sk: str
    kind: FactKind
    notification_id: str
    user_id: str
    user_email: str | None
    notification: str

    @property
    def key(self) -> EventKey:
        """The key of the causing event."""
        return self.pk, self.sk


def fact_type(kind: FactKind) -> str:
    """Return the event type of a fact."""
    return f"notification:{kind}"


def fact_id(pk: str, sk: str, kind: FactKind) -> str:
    """Return the id of the fact that the event with this key caused: the same on every attempt."""
    return str(uuid5(NAMESPACE, dumps([pk, sk, fact_type(kind)])))


def possible_fact_ids(key: EventKey, effect: Effect) -> list[str]:
    """Return the ids that the fact of the event with this key can have."""
    kinds: tuple[FactKind, ...] = ("deleted",) if effect == "delete" else ("created", "updated")
    return [fact_id(*key, kind) for kind in kinds]


def fact_of(pending: PendingFact) -> Event:
    """Return the fact of a change: the same on every attempt."""
    occurred_at, _, event_id = pending.sk.partition("#")
    return Event(
        id=fact_id(pending.pk, pending.sk, pending.kind),
        occurred_at=Instant(occurred_at),
        event_type=fact_type(pending.kind),
        item_type="notification",
        item_id=pending.notification_id,
        user_id=pending.user_id,
        user_email=pending.user_email,
        causation_id=event_id,
        data=pending.notification,
        is_fact=True,
    )


@dataclass(frozen=True, slots=True)
class Message:
    """A fact as it is published: body and String attributes; `size` is what SNS counts, in bytes of UTF-8."""

    body: str
    attributes: dict[str, str]
    size: int


def message_of(fact: Event) -> Message:
    """Return a fact's message in the native format, without `notificationData` if it is too large for SNS."""
    message = _message(fact, fact.data)
    return message if message.size <= MAX_MESSAGE_BYTES else _message(fact, truncated(fact.data))


def may_be_truncated(fact: Event) -> bool:
    """Tell, without building it, whether a fact's message may be too large to be published whole."""
    characters = len(fact.data) + len(fact.user_email or "") + len(fact.causation_id or "")
    return characters * 6 + 4096 > MAX_MESSAGE_BYTES  # an escape has at most 6 bytes; 4,096 for ids and names


def truncated(data: str) -> str:
    """Return a fact's `eventData` as it is published if the whole is too large."""
    return json_object(raw_members(data) | {"notificationData": "null", "truncated": "true"})


def same_fact_data(stored: str, received: str) -> bool:
    """Tell whether a fact's `eventData` that came back is the stored one, whole or truncated."""
    return same_value(stored, received) or same_value(truncated(stored), received)


def _message(fact: Event, data: str) -> Message:
    body = json_object(
        {
            "id": dumps(fact.id),
            "eventType": dumps(fact.event_type),
            "itemType": dumps(fact.item_type),
            "itemId": dumps(fact.item_id),
            "userId": dumps(fact.user_id),
            "userEmail": dumps(fact.user_email),
            "occurredAt": dumps(fact.occurred_at),
            "causationId": dumps(fact.causation_id),
            "eventData": data,
        }
    )
    body = body.replace("\ufffe", "\\ufffe").replace("\uffff", "\\uffff")
    attributes = {
        "eventItemType": fact.item_type,
        "eventType": fact.event_type,
        "userId": _publishable(fact.user_id),
    }
    size = len(body.encode()) + sum(len(f"{name}String{value}".encode()) for name, value in attributes.items())
    return Message(body, attributes, size)


def _publishable(text: str) -> str:
    return text if text.isascii() and text.isprintable() else re.sub(_UNPUBLISHABLE, "\ufffd", text)
