-- What rebuilds changed, and which facts would tell it. A rebuild has none: nearly all of its events had theirs long ago.
-- But one that is stored and not applied yet, because its batch is between the two or died there, has none, and a rebuild
-- must not take it away: when the service comes to apply that event, its fact goes into the outbox.
CREATE TABLE merged_events (
    event_pk  text COLLATE "C" NOT NULL,
    event_sk  text COLLATE "C" NOT NULL,
    change    text NOT NULL CHECK (change IN ('created', 'updated', 'deleted')),
    merged_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (event_pk, event_sk)
);

COMMENT ON TABLE merged_events IS 'events by which a rebuild changed notifications, and the kind of change; kept for 30 days';

-- Notes which of the events that are about to be merged (0006) change notifications, and how. They have two members more:
-- "sk", and "wasLive", which tells whether the event before left a live notification, for where no row knows.
CREATE FUNCTION note_merged_events(events json)
RETURNS void
LANGUAGE plpgsql
AS $$
BEGIN
    -- In the order in which everybody locks rows: nobody changes them between the note and the change.
    PERFORM FROM notifications AS n
    JOIN json_to_recordset(events) AS e(notification json) ON n.id = (e.notification ->> 'id')::uuid
    ORDER BY n.user_id, n.item_id
    FOR UPDATE OF n;

    INSERT INTO merged_events (event_pk, event_sk, change)
    SELECT e.pk, e.sk, CASE WHEN e.deletion THEN 'deleted' WHEN was.live THEN 'updated' ELSE 'created' END
    FROM json_to_recordset(events) AS e(
             pk text, sk text, id text, deletion boolean, "wasLive" boolean, notification json)
    LEFT JOIN notifications AS n ON n.id = (e.notification ->> 'id')::uuid,
    LATERAL (SELECT CASE WHEN n.id IS NULL THEN e."wasLive" ELSE n.deleted_at IS NULL END AS live) AS was
    WHERE (was.live OR NOT e.deletion)
      AND (n.id IS NULL
           OR ((e.notification ->> 'updatedAt')::timestamptz, e.deletion, e.id COLLATE "C", e.pk COLLATE "C")
            > (n.updated_at, n.deleted_at IS NOT NULL, n.event_id, n.event_pk))
    ON CONFLICT DO NOTHING;
END
$$;

-- As before (0003), and sees to the facts of events that a rebuild applied. One member is new: "factless" tells that the
-- fact of an event is not in the event store; that of one that was stored just now never is.
CREATE OR REPLACE FUNCTION apply_events(events json)
RETURNS TABLE (pk text, sk text, change text, notification_id text, user_id text, user_email text, notification text)
LANGUAGE plpgsql
SET lock_timeout = '300ms'
AS $$
#variable_conflict use_column
DECLARE
    event record;
    old record;
    kind text;
    first_seen timestamptz;
BEGIN
    FOR event IN
        SELECT e.pk, e.sk, e.id AS event_id, e.deletion, e.factless, e.notification::text AS made,
               n.id, n."userId" AS user_id, n."itemId" AS item_id, n."userEmail" AS user_email,
               n."itemType" AS item_type, n."deliverAt" AS deliver_at, n."notificationData"::jsonb AS data,
               n."updatedAt" AS occurred_at,
               CASE WHEN e.deletion THEN n."updatedAt" END AS deleted_at
        FROM json_to_recordset(events) AS e(
                 pk text, sk text, id text, deletion boolean, factless boolean, notification json),
             json_to_record(e.notification) AS n(
                 id uuid, "userId" text, "itemId" text, "userEmail" text, "itemType" text, "deliverAt" timestamptz,
                 "notificationData" json, "updatedAt" timestamptz)
        -- Rows are locked in the same order by every caller: no deadlocks.
        ORDER BY n."userId" COLLATE "C", n."itemId" COLLATE "C",
                 n."updatedAt", e.deletion, e.id COLLATE "C", e.pk COLLATE "C"
    LOOP
        kind := NULL;
        INSERT INTO notifications (id, user_id, item_id, user_email, item_type, deliver_at, notification_data,
                                   event_id, event_pk, created_at, updated_at, deleted_at)
        VALUES (event.id, event.user_id, event.item_id, event.user_email, event.item_type, event.deliver_at, event.data,
                event.event_id, event.pk, event.occurred_at, event.occurred_at, event.deleted_at)
        ON CONFLICT DO NOTHING;

        IF FOUND THEN
            first_seen := event.occurred_at;
            IF NOT event.deletion THEN
                kind := 'created';
            END IF;
        ELSE
            SELECT n.updated_at, n.deleted_at, n.event_id, n.event_pk, n.created_at INTO STRICT old
            FROM notifications AS n
            WHERE n.user_id = event.user_id AND n.item_id = event.item_id
            FOR UPDATE;
            first_seen := least(old.created_at, event.occurred_at);

            IF (event.occurred_at, event.deletion, event.event_id COLLATE "C", event.pk COLLATE "C")
             > (old.updated_at, old.deleted_at IS NOT NULL, old.event_id, old.event_pk) THEN
                UPDATE notifications AS n
                SET user_email = event.user_email, item_type = event.item_type, deliver_at = event.deliver_at,
                    notification_data = event.data, event_id = event.event_id, event_pk = event.pk,
                    created_at = first_seen, updated_at = event.occurred_at, deleted_at = event.deleted_at
                WHERE n.user_id = event.user_id AND n.item_id = event.item_id;
                kind := CASE WHEN old.deleted_at IS NULL AND event.deletion THEN 'deleted'
                             WHEN old.deleted_at IS NULL THEN 'updated'
                             WHEN NOT event.deletion THEN 'created' END;
            ELSIF event.factless AND (event.occurred_at, event.event_id, event.pk)
                                   = (old.updated_at, old.event_id, old.event_pk) THEN
                DELETE FROM merged_events AS m WHERE m.event_pk = event.pk AND m.event_sk = event.sk
                RETURNING m.change INTO kind;
            ELSIF first_seen < old.created_at THEN
                UPDATE notifications AS n SET created_at = first_seen
                WHERE n.user_id = event.user_id AND n.item_id = event.item_id;
            END IF;
        END IF;

        IF kind IS NOT NULL THEN
            INSERT INTO outbox (event_pk, event_sk, change, notification)
            VALUES (event.pk, event.sk, kind,
                    -- The fact's text, exact to the last digit: a cast to jsonb would not keep it.
                    (left(event.made, -1) || ',"createdAt":"'
                     || to_char(first_seen AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') || '"}')::json)
            ON CONFLICT DO NOTHING;
        END IF;
    END LOOP;

    -- While this caller publishes the facts of an earlier try, nobody takes them for left behind.
    UPDATE outbox AS o SET claimed_after = now() - o.committed_at
    FROM (
        SELECT w.event_pk, w.event_sk
        FROM outbox AS w
        JOIN json_to_recordset(events) AS e(pk text, sk text) ON w.event_pk = e.pk AND w.event_sk = e.sk
        WHERE w.committed_at < now()
        ORDER BY w.event_pk, w.event_sk
        FOR UPDATE OF w) AS waiting
    WHERE o.event_pk = waiting.event_pk AND o.event_sk = waiting.event_sk;

    RETURN QUERY
        SELECT o.event_pk, o.event_sk, o.change, o.notification ->> 'id', o.notification ->> 'userId',
               o.notification ->> 'userEmail', o.notification::text
        FROM outbox AS o
        JOIN json_to_recordset(events) AS e(pk text, sk text) ON o.event_pk = e.pk AND o.event_sk = e.sk
        ORDER BY o.event_pk, o.event_sk;
END
$$;
-- As it was (0005): a replaced function has lost that.
DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION apply_events(json) SECURITY DEFINER SET search_path = %I, pg_temp', current_schema());
END
$$;
