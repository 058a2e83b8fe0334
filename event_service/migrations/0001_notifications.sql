-- One row per user and item. But for created_at, a row is a function of the event that decides it.
-- Identifiers compare by code point, whatever the collation of the database.
CREATE TABLE notifications (
    id                uuid PRIMARY KEY,
    user_id           text COLLATE "C" NOT NULL,
    item_id           text COLLATE "C" NOT NULL,
    user_email        text,
    item_type         text NOT NULL,
    deliver_at        timestamptz,
    notification_data jsonb NOT NULL,
    event_id          text COLLATE "C" NOT NULL,
    event_pk          text COLLATE "C" NOT NULL,
    created_at        timestamptz NOT NULL,
    updated_at        timestamptz NOT NULL,
    deleted_at        timestamptz,
    UNIQUE (user_id, item_id),
    CHECK (deliver_at IS NOT NULL OR deleted_at IS NOT NULL)
);

COMMENT ON COLUMN notifications.event_id IS 'the id of the deciding event: of those of the user and the item, the last';
COMMENT ON COLUMN notifications.event_pk IS 'the stream of the deciding event in the event store';
COMMENT ON COLUMN notifications.created_at IS 'when the earliest event seen so far occurred';
COMMENT ON COLUMN notifications.updated_at IS 'when the deciding event occurred';
COMMENT ON COLUMN notifications.deleted_at IS 'the same where the deciding event is a deletion; the row stays as a tombstone';

CREATE INDEX notifications_deliver_at ON notifications (deliver_at) WHERE deleted_at IS NULL;

-- What the notification-scheduler reads, with the names that TypeORM gave the columns of its table.
CREATE VIEW "notification" AS
SELECT
    id::text                     AS "id",
    created_at                   AS "createdAt",
    updated_at                   AS "updatedAt",
    user_id                      AS "userId",
    coalesce(user_email, '')     AS "userEmail",
    deliver_at                   AS "deliverAt",
    item_type                    AS "itemType",
    item_id                      AS "itemId",
    notification_data::text      AS "notificationData"
FROM notifications
WHERE deleted_at IS NULL;
