-- What an event does to its notification. The order matters: see precedence.
CREATE TYPE effect AS ENUM ('create', 'update', 'delete');

-- Of the events of one notification, the greatest decides it: the latest; at the same instant a deletion, then an
-- update; then the greatest id, then the greatest stream, by code point whatever the collation of the database.
-- Composite values compare field by field, so this type is the rule. Python's copy is domain/precedence.py.
CREATE TYPE precedence AS (
    occurred_at timestamptz,
    effect      effect,
    event_id    text COLLATE "C",
    stream      text COLLATE "C"
);

-- One row per user, subject and item. A row is a function of the event that decides it, except for created_at, announced
-- and the three columns about the scheduler's queries.
CREATE TABLE notifications (
    id                uuid PRIMARY KEY,
    user_id           text COLLATE "C" NOT NULL,
    subject_type      text COLLATE "C" NOT NULL,
    item_id           text COLLATE "C" NOT NULL,
    user_email        text,
    item_type         text NOT NULL,
    deliver_at        timestamptz,
    notification_data jsonb NOT NULL,
    decided_by        precedence NOT NULL,
    created_at        timestamptz NOT NULL,
    updated_at        timestamptz NOT NULL,
    deleted_at        timestamptz,
    announced         precedence,
    due_at            timestamptz,
    query_missed      boolean NOT NULL DEFAULT false,
    queried_at        timestamptz,
    UNIQUE (user_id, subject_type, item_id),
    CHECK (deliver_at IS NOT NULL OR deleted_at IS NOT NULL)
);

COMMENT ON COLUMN notifications.subject_type IS 'the item type that the notification is about';
COMMENT ON COLUMN notifications.item_type IS 'the item type of the deciding event: notification for commands';
COMMENT ON COLUMN notifications.decided_by IS 'the deciding event: the greatest of the events of the notification';
COMMENT ON COLUMN notifications.created_at IS 'when the earliest event seen so far occurred';
COMMENT ON COLUMN notifications.updated_at IS 'when the deciding event occurred';
COMMENT ON COLUMN notifications.deleted_at IS 'the same if the deciding event is a deletion; the row stays as a tombstone';
COMMENT ON COLUMN notifications.announced IS 'the event that subscribers were last told about, by a fact';
COMMENT ON COLUMN notifications.due_at IS 'deliver_at, or the next minute the scheduler queries if the service was late';
COMMENT ON COLUMN notifications.query_missed IS 'the scheduler had queried for due_at before the row was there';
COMMENT ON COLUMN notifications.queried_at IS 'the last query of the scheduler that found an earlier version of the row';

CREATE INDEX notifications_due_at ON notifications (due_at) WHERE deleted_at IS NULL;

-- What the notification-scheduler reads, with the names that TypeORM gave the columns of its table.
CREATE VIEW "notification" AS
SELECT
    id::text                AS "id",
    created_at              AS "createdAt",
    updated_at              AS "updatedAt",
    user_id                 AS "userId",
    coalesce(user_email, '')  AS "userEmail",
    due_at                  AS "deliverAt",
    item_type               AS "itemType",
    item_id                 AS "itemId",
    notification_data::text AS "notificationData"
FROM notifications
WHERE deleted_at IS NULL;
