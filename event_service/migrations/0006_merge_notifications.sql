-- Merges notifications, as the events that decide them make them, into `target`, a table like notifications. The same
-- precedence as in apply_events() decides, but in one statement, and without facts: this is history. Nothing becomes due.
--
-- events: an array of {"pk", "id", "effect", "subject", "firstSeen", "announced", "notification"}, one per notification.
-- "firstSeen" is when its earliest known event occurred, "announced" the precedence of the greatest event that is known
-- to have had its fact, or null, and "notification" is as in apply_events().
--
-- A row that the same event decided is written again if it differs: the stored event says what belongs there.
CREATE FUNCTION merge_notifications(target regclass, events json)
RETURNS void
LANGUAGE plpgsql
AS $$
BEGIN
    EXECUTE format($merge$
        INSERT INTO %s AS n (id, user_id, subject_type, item_id, user_email, item_type, deliver_at, notification_data,
                             decided_by, created_at, updated_at, deleted_at, announced, due_at, query_missed)
        SELECT m.id, m."userId", e.subject, m."itemId", m."userEmail", m."itemType", m."deliverAt",
               m."notificationData"::jsonb, ROW(m."updatedAt", e.effect, e.id, e.pk)::precedence, e."firstSeen",
               m."updatedAt", CASE WHEN e.effect = 'delete' THEN m."updatedAt" END,
               e.announced, m."deliverAt", coalesce(query_time(m."deliverAt") < service_clock(), false)
        FROM json_to_recordset($1) AS e(pk text, id text, effect effect, subject text, "firstSeen" timestamptz,
                                        announced precedence, notification json),
             json_to_record(e.notification) AS m(
                 id uuid, "userId" text, "itemId" text, "userEmail" text, "itemType" text, "deliverAt" timestamptz,
                 "notificationData" json, "updatedAt" timestamptz)
        -- The order in which every session inserts rows.
        ORDER BY m."userId" COLLATE "C", e.subject COLLATE "C", m."itemId" COLLATE "C"
        -- On the first index that an insert reaches: another conflict would be an error while apply_events() inserts.
        ON CONFLICT (id) DO UPDATE
        SET user_email = EXCLUDED.user_email, item_type = EXCLUDED.item_type, deliver_at = EXCLUDED.deliver_at,
            notification_data = EXCLUDED.notification_data, decided_by = EXCLUDED.decided_by,
            updated_at = EXCLUDED.updated_at, deleted_at = EXCLUDED.deleted_at,
            created_at = least(n.created_at, EXCLUDED.created_at),
            due_at = CASE WHEN EXCLUDED.decided_by > n.decided_by OR EXCLUDED.deliver_at IS DISTINCT FROM n.deliver_at
                          THEN EXCLUDED.due_at ELSE n.due_at END,
            query_missed = CASE WHEN EXCLUDED.decided_by > n.decided_by THEN EXCLUDED.query_missed ELSE n.query_missed END,
            queried_at = CASE WHEN EXCLUDED.decided_by > n.decided_by THEN last_query(
                n.queried_at, n.due_at, n.deleted_at, n.query_missed, service_clock())
                              ELSE n.queried_at END
        WHERE EXCLUDED.decided_by >= n.decided_by
          AND (n.decided_by, n.user_email, n.item_type, n.deliver_at, n.notification_data)
              IS DISTINCT FROM (EXCLUDED.decided_by, EXCLUDED.user_email, EXCLUDED.item_type, EXCLUDED.deliver_at,
                                EXCLUDED.notification_data)
    $merge$, target) USING events;
    -- An event that came too late to decide may be the earliest, and its fact the last. The rows are locked by now.
    EXECUTE format($greatest$
        UPDATE %s AS n
        SET created_at = least(n.created_at, e."firstSeen"),
            announced = CASE WHEN n.announced IS NULL OR e.announced > n.announced THEN e.announced ELSE n.announced END
        FROM json_to_recordset($1) AS e("firstSeen" timestamptz, announced precedence, notification json)
        WHERE n.id = (e.notification ->> 'id')::uuid
          AND (e."firstSeen" < n.created_at
               OR e.announced IS NOT NULL AND (n.announced IS NULL OR e.announced > n.announced))
    $greatest$, target) USING events;
END
$$;

-- How far a rebuild has come: one row per phase and segment of the scan of the event store, until it is complete.
CREATE TABLE rebuild_progress (
    target   text NOT NULL,
    phase    text NOT NULL CHECK (phase IN ('facts', 'events')),
    segment  integer NOT NULL,
    source   text NOT NULL,
    relation oid NOT NULL,
    begun_at timestamptz NOT NULL DEFAULT now(),
    scanned  bigint NOT NULL DEFAULT 0,
    events   bigint NOT NULL DEFAULT 0,
    refused  bigint NOT NULL DEFAULT 0,
    last_pk  text COLLATE "C",
    last_sk  text COLLATE "C",
    done     boolean NOT NULL DEFAULT false,
    PRIMARY KEY (target, phase, segment)
);

COMMENT ON COLUMN rebuild_progress.target IS 'the table being filled: notifications, or the one it is compared with';
COMMENT ON COLUMN rebuild_progress.source IS 'the name of the event store''s table';
COMMENT ON COLUMN rebuild_progress.relation IS 'the file node of the target: TRUNCATE gives it another';
COMMENT ON COLUMN rebuild_progress.last_pk IS 'with last_sk, the key of the last item of the segment that was merged';

-- The facts that a running rebuild knows of, by id: they tell which events were announced.
CREATE TABLE rebuild_facts (id uuid NOT NULL);
CREATE INDEX rebuild_facts_id ON rebuild_facts USING hash (id);
