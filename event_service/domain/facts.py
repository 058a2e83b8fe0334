"""Facts: the events by which the service tells what it changed."""

import re
from dataclasses import dataclass
from typing import Final
from uuid import uuid5

from event_service.codec.instants import Instant
from event_service.codec.json_text import compose_object, dumps, same_value, string_of, texts_of
from event_service.domain.event import NAMESPACE, Event, EventKey, Rank

# SNS: a message with its attributes has at most 256 KiB.
# https://docs.aws.amazon.com/general/latest/gr/sns.html#limits_sns
MAX_MESSAGE_BYTES: Final = 256 * 1024
# SQS, where messages end up, carries only the characters of XML 1.0. In the body JSON escapes stand for the others.
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html
_UNPUBLISHABLE = "[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"  # compiling it costs 15 ms: not at the start


@dataclass(frozen=True, slots=True)
class Change:
    """A change to a notification, as the outbox remembers it until its fact is stored and published.

    `pk` and `sk` are those of the causing event; `change` is `created`, `updated` or `deleted`; `notification` is the
    JSON object a fact has as `eventData`.
    """

    pk: str
    sk: str
    change: str
    notification_id: str
    user_id: str
    user_email: str | None
    notification: str

    @property
    def key(self) -> EventKey:
        """The key of the causing event."""
        return self.pk, self.sk


def fact_of(change: Change) -> Event:
    """Return the fact of a change: the same whenever it is asked for."""
    event_type = f"notification:{change.change}"
    occurred_at, _, event_id = change.sk.partition("#")
    return Event(
        id=str(uuid5(NAMESPACE, dumps([change.pk, change.sk, event_type]))),
        occurred_at=Instant(occurred_at),
        event_type=event_type,
        item_type="notification",
        item_id=change.notification_id,
        user_id=change.user_id,
        user_email=change.user_email,
        causation_id=event_id,
        data=change.notification,
        is_fact=True,
    )


def rank_of_cause(pk: str, sk: str, change: str) -> Rank:
    """Return the rank of the event with this key, which caused a change."""
    occurred_at, _, event_id = sk.partition("#")
    return Instant(occurred_at), change == "deleted", event_id, pk


def stream_of_cause(data: str) -> str:
    """Return the stream of the event that caused a fact, from the fact's `eventData`."""
    about = texts_of(data)
    return f"{string_of(about.get('itemType'))}#{string_of(about.get('itemId'))}"


def change_owed(last_fact: Rank | None, event: Event) -> str | None:
    """Return how the event that decides a notification has changed it since its last fact; None if it has not.

    `last_fact` is the rank of the event that caused that fact; None where there is none.
    """
    if last_fact is not None and last_fact >= event.rank:
        return None
    live = last_fact is not None and not last_fact[1]
    if event.effect == "delete":
        return "deleted" if live else None
    return "updated" if live else "created"


@dataclass(frozen=True, slots=True)
class Message:
    """A fact as it is published: body and String attributes; `size` is what SNS counts, in bytes of UTF-8."""

    body: str
    attributes: dict[str, str]
    size: int


def message_of(fact: Event) -> Message:
    """Return a fact's message in the native format; one too large for SNS goes out without `notificationData`."""
    message = _message(fact, fact.data)
    return message if message.size <= MAX_MESSAGE_BYTES else _message(fact, truncated(fact.data))


def may_be_truncated(fact: Event) -> bool:
    """Tell, without making it, whether a fact's message may be too large to be published whole."""
    characters = len(fact.data) + len(fact.user_email or "") + len(fact.causation_id or "")
    return characters * 6 + 4096 > MAX_MESSAGE_BYTES  # at most an escape of 6 bytes each, and the ids and names


def truncated(data: str) -> str:
    """Return a fact's `eventData` as it is published where the whole is too large."""
    return compose_object(texts_of(data) | {"notificationData": "null", "truncated": "true"})


def same_fact_data(stored: str, received: str) -> bool:
    """Tell whether a fact's `eventData` that came back is the stored one, be it whole or truncated."""
    return same_value(stored, received) or same_value(truncated(stored), received)


def _message(fact: Event, data: str) -> Message:
    body = compose_object(
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
