-- Applies events to notifications, each together with its fact in the outbox, and returns the facts of these events
-- that wait there, be it from this call or from an earlier one whose caller did not live to publish them.
--
-- events: an array of {"pk", "sk", "id", "deletion", "notification"}; "notification" is the row as the event makes it,
-- {"id", "userId", "userEmail", "itemType", "itemId", "deliverAt", "notificationData", "updatedAt"}.
--
-- Of the events of one user and item the latest decides; at the same instant a deletion, then the greatest id, then
-- the greatest stream. A function and not one statement, because each statement in it sees what was committed while
-- the one before it waited for a lock: the row before the change, and the outbox rows of an overlapping delivery.
CREATE FUNCTION apply_events(events json)
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
        SELECT e.pk, e.sk, e.id AS event_id, e.deletion, e.notification::text AS made,
               n.id, n."userId" AS user_id, n."itemId" AS item_id, n."userEmail" AS user_email,
               n."itemType" AS item_type, n."deliverAt" AS deliver_at, n."notificationData"::jsonb AS data,
               n."updatedAt" AS occurred_at,
               CASE WHEN e.deletion THEN n."updatedAt" END AS deleted_at
        FROM json_to_recordset(events) AS e(pk text, sk text, id text, deletion boolean, notification json),
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
                     || to_char(first_seen AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') || '"}')::json);
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
