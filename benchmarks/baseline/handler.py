"""The baseline: the same job, record by record, as Powertools documents it.

Validation, projection and facts are the service's own code: only the processing differs. The batch utility:
https://docs.aws.amazon.com/powertools/python/latest/utilities/batch/; against duplicates:
https://docs.aws.amazon.com/powertools/python/latest/utilities/idempotency/
"""

import json
import os
from typing import Any

import boto3
import psycopg
from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
from aws_lambda_powertools.utilities.idempotency import DynamoDBPersistenceLayer, IdempotencyConfig, idempotent_function

from event_service.adapters.event_items import to_item
from event_service.codec.instants import now
from event_service.domain.envelope import open_envelope
from event_service.domain.event import Event
from event_service.domain.facts import FactKind, PendingFact, fact_of, message_of
from event_service.domain.formats import read_event
from event_service.domain.projection import project

logger = Logger(service="baseline")
metrics = Metrics(namespace="Baseline", service="baseline")
processor = BatchProcessor(event_type=EventType.SQS)
dynamodb = boto3.client("dynamodb")
sns = boto3.client("sns")
persistence = DynamoDBPersistenceLayer(table_name="idempotency", boto3_client=dynamodb)
idempotency = IdempotencyConfig(event_key_jmespath="messageId", raise_on_no_idempotency_key=True)
connection = psycopg.connect(os.environ["DATABASE_URL"], autocommit=True)

UPSERT = """
    INSERT INTO notifications AS n (id, user_id, subject_type, item_id, user_email, item_type, deliver_at, due_at,
                                    notification_data, decided_by, created_at, updated_at, deleted_at)
    SELECT id, "userId", %(subject)s, "itemId", "userEmail", "itemType", "deliverAt", "deliverAt",
           "notificationData"::jsonb, ROW("updatedAt", %(effect)s, %(id)s, %(pk)s)::precedence, "updatedAt",
           "updatedAt", CASE WHEN %(effect)s = 'delete' THEN "updatedAt" END
    FROM json_to_record(%(notification)s::json) AS x(
         id uuid, "userId" text, "itemId" text, "userEmail" text, "itemType" text, "deliverAt" timestamptz,
         "notificationData" json, "updatedAt" timestamptz)
    ON CONFLICT (user_id, subject_type, item_id) DO UPDATE
    SET user_email = excluded.user_email, item_type = excluded.item_type, deliver_at = excluded.deliver_at,
        due_at = excluded.due_at, notification_data = excluded.notification_data, decided_by = excluded.decided_by,
        created_at = least(n.created_at, excluded.created_at), updated_at = excluded.updated_at,
        deleted_at = excluded.deleted_at
    WHERE excluded.decided_by > n.decided_by
    RETURNING xmax = 0, to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
"""


@idempotent_function(  # type: ignore[untyped-decorator]  # Powertools leaves it untyped
    data_keyword_argument="record", persistence_store=persistence, config=idempotency
)
def handle(record: dict[str, Any]) -> None:
    """Store the event, apply it, store and publish its fact."""
    event = read_event(open_envelope(record))
    put(event)
    known = event.known_type
    if known is None:
        return
    notification = project(event, known)
    parameters = {
        "id": event.id,
        "pk": event.pk,
        "effect": known.effect,
        "subject": known.subject,
        "notification": notification,
    }
    row = connection.execute(UPSERT, parameters).fetchone()
    if row is None:
        return
    kind: FactKind = "deleted" if known.effect == "delete" else "created" if row[0] else "updated"
    whole = f'{notification[:-1]},"createdAt":"{row[1]}"}}'
    notification_id = json.loads(notification)["id"]
    fact = fact_of(PendingFact(event.pk, event.sk, kind, notification_id, event.user_id, event.user_email, whole))
    put(fact)
    message = message_of(fact)
    sns.publish(
        TopicArn=os.environ["NOTIFICATION_TOPIC_ARN"],
        Message=message.body,
        MessageAttributes={
            name: {"DataType": "String", "StringValue": value} for name, value in message.attributes.items()
        },
    )


def put(event: Event) -> None:
    """Store an event unless it is already stored."""
    try:
        dynamodb.put_item(
            TableName=os.environ["EVENT_STORE_TABLE"],
            Item=dict(to_item(event, now())),
            ConditionExpression="attribute_not_exists(pk)",
        )
    except dynamodb.exceptions.ConditionalCheckFailedException:
        logger.info("duplicate", extra={"event_id": event.id})


def record_handler(record: SQSRecord) -> None:
    """Handle one record, once."""
    handle(record=record.raw_event)
    metrics.add_metric("EventsHandled", MetricUnit.Count, 1)


@metrics.log_metrics
def lambda_handler(event: dict[str, Any], context: Any) -> Any:
    """Handle a batch record by record."""
    idempotency.register_lambda_context(context)
    return process_partial_response(event, record_handler, processor, context)
