-- Merges notifications, as the events that decide them make them, into a table of the form of notifications, by the
-- ordering rule of apply_events(); but in one statement, and without facts: this is history, nothing new.
--
-- events: an array of {"pk", "id", "deletion", "firstSeen", "notification"}, one for a user and item; "firstSeen" is
-- when the earliest known event of the notification occurred, "notification" as in apply_events().
--
-- A row that the same event decided is written anew where it differs: the event says what belongs there.
CREATE FUNCTION merge_notifications(target regclass, events json)
RETURNS void
LANGUAGE plpgsql
AS $$
BEGIN
    EXECUTE format($merge$
        INSERT INTO %s AS n (id, user_id, item_id, user_email, item_type, deliver_at, notification_data,
                             event_id, event_pk, created_at, updated_at, deleted_at)
        SELECT m.id, m."userId", m."itemId", m."userEmail", m."itemType", m."deliverAt", m."notificationData"::jsonb,
               e.id, e.pk, e."firstSeen", m."updatedAt", CASE WHEN e.deletion THEN m."updatedAt" END
        FROM json_to_recordset($1) AS e(pk text, id text, deletion boolean, "firstSeen" timestamptz, notification json),
             json_to_record(e.notification) AS m(
                 id uuid, "userId" text, "itemId" text, "userEmail" text, "itemType" text, "deliverAt" timestamptz,
                 "notificationData" json, "updatedAt" timestamptz)
        -- The order in which everybody locks rows.
        ORDER BY m."userId" COLLATE "C", m."itemId" COLLATE "C"
        -- The first index an insert reaches: another conflict would be an error where apply_events() inserts as well.
        ON CONFLICT (id) DO UPDATE
        SET user_email = EXCLUDED.user_email, item_type = EXCLUDED.item_type, deliver_at = EXCLUDED.deliver_at,
            notification_data = EXCLUDED.notification_data, event_id = EXCLUDED.event_id, event_pk = EXCLUDED.event_pk,
            created_at = least(n.created_at, EXCLUDED.created_at), updated_at = EXCLUDED.updated_at,
            deleted_at = EXCLUDED.deleted_at
        WHERE (EXCLUDED.updated_at, EXCLUDED.deleted_at IS NOT NULL, EXCLUDED.event_id, EXCLUDED.event_pk)
           >= (n.updated_at, n.deleted_at IS NOT NULL, n.event_id, n.event_pk)
          AND (n.event_id, n.event_pk, n.updated_at, n.deleted_at, n.user_email, n.item_type, n.deliver_at,
               n.notification_data::text)
              IS DISTINCT FROM
              (EXCLUDED.event_id, EXCLUDED.event_pk, EXCLUDED.updated_at, EXCLUDED.deleted_at, EXCLUDED.user_email,
               EXCLUDED.item_type, EXCLUDED.deliver_at, EXCLUDED.notification_data::text)
    $merge$, target) USING events;
    -- An event that came too late to decide may still be the earliest. The rows are locked by now.
    EXECUTE format($first$
        UPDATE %s AS n SET created_at = e."firstSeen"
        FROM json_to_recordset($1) AS e("firstSeen" timestamptz, notification json)
        WHERE n.id = (e.notification ->> 'id')::uuid AND e."firstSeen" < n.created_at
    $first$, target) USING events;
END
$$;

-- How far a rebuild has come: one row per segment of the scan of the event store, until it is over.
CREATE TABLE rebuild_progress (
    target  text NOT NULL,
    segment integer NOT NULL,
    source  text NOT NULL,
    scanned bigint NOT NULL DEFAULT 0,
    events  bigint NOT NULL DEFAULT 0,
    refused bigint NOT NULL DEFAULT 0,
    last_pk text COLLATE "C",
    last_sk text COLLATE "C",
    done    boolean NOT NULL DEFAULT false,
    PRIMARY KEY (target, segment)
);

COMMENT ON COLUMN rebuild_progress.target IS 'the table being made: notifications, or the one it is compared with';
COMMENT ON COLUMN rebuild_progress.source IS 'the name of the event store''s table';
COMMENT ON COLUMN rebuild_progress.last_pk IS 'with last_sk, the key of the last item of the segment that was merged';
