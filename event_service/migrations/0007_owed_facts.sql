-- Facts that are owed. A rebuild, and an erasure, apply what is stored and make no facts, because nearly all events had
-- theirs long ago. But one whose batch is between append and apply, or died there, has none yet; and when the service
-- comes to apply that event, the row is there already and nothing changes.

-- What an earlier form of this migration, before any release, may have made.
DROP FUNCTION IF EXISTS note_merged_events(json, boolean);
DROP TABLE IF EXISTS merged_events;

ALTER TABLE rebuild_progress
    ADD COLUMN IF NOT EXISTS relation oid,
    ADD COLUMN IF NOT EXISTS begun_at timestamptz NOT NULL DEFAULT now();

COMMENT ON COLUMN rebuild_progress.relation IS 'the file node of the target: TRUNCATE gives it another';

CREATE TABLE merges (begun_at timestamptz NOT NULL DEFAULT now());

COMMENT ON TABLE merges IS 'when a rebuild or an erasure began to apply events without facts; each counts for 30 days';

CREATE FUNCTION instant_text(instant timestamptz) RETURNS text LANGUAGE sql STABLE
AS $$ SELECT to_char(instant AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') $$;

-- Returns those of events that decide their rows and may have been applied without a fact: where there was a merge in the
-- last 30 days, which is longer than a record stays in both queues. With each comes the cause of the last fact of its
-- notification that waits in the outbox, or nulls.
--
-- events: an array of {"pk", "sk", "notificationId"}.
CREATE FUNCTION merged_events(events json)
RETURNS TABLE (pk text, sk text, waiting_pk text, waiting_sk text, waiting_change text)
LANGUAGE sql
AS $$
    WITH deciding AS (
        SELECT e.pk, e.sk, n.id
        FROM json_to_recordset(events) AS e(pk text, sk text, "notificationId" uuid)
        JOIN notifications AS n
            ON n.id = e."notificationId" AND n.event_pk = e.pk AND instant_text(n.updated_at) || '#' || n.event_id = e.sk
        WHERE EXISTS (SELECT FROM merges WHERE begun_at > now() - interval '30 days')
    ), waiting AS (
        -- The outbox is read once, for all of them: after an outage it may be long.
        SELECT DISTINCT ON (id) (o.notification ->> 'id')::uuid AS id, o.event_pk, o.event_sk, o.change
        FROM outbox AS o
        WHERE o.notification ->> 'id' IN (SELECT d.id::text FROM deciding AS d)
        -- By the rule of apply_events(): the first 27 characters of event_sk are the instant, the others "#" and the id.
        ORDER BY id, left(o.event_sk, 27) DESC, o.change = 'deleted' DESC, o.event_sk DESC, o.event_pk DESC
    )
    SELECT d.pk, d.sk, w.event_pk, w.event_sk, w.change FROM deciding AS d LEFT JOIN waiting AS w USING (id)
$$;

-- Puts the facts of events that decide their rows into the outbox and returns them as apply_events() does, made as there of
-- what the events make of their rows; of the row itself where that is something else, because an erasure has emptied it.
-- An event that was overtaken has no fact.
--
-- events: an array of {"pk", "sk", "notificationId", "change", "notification"}; "notification" as for apply_events(), or
-- null of an event that is forgotten.
CREATE FUNCTION owe_facts(events json)
RETURNS TABLE (pk text, sk text, change text, notification_id text, user_id text, user_email text, notification text)
LANGUAGE sql
AS $$
    INSERT INTO outbox (event_pk, event_sk, change, notification)
    SELECT e.pk, e.sk, e.change, CASE
        WHEN n.user_email IS NOT DISTINCT FROM e.notification ->> 'userEmail'
            AND n.notification_data = (e.notification -> 'notificationData')::jsonb
        THEN (left(e.notification::text, -1) || ',"createdAt":"' || instant_text(n.created_at) || '"}')::json
        ELSE json_build_object(
            'id', n.id, 'userId', n.user_id, 'userEmail', n.user_email, 'itemType', n.item_type, 'itemId', n.item_id,
            'deliverAt', instant_text(n.deliver_at), 'notificationData', n.notification_data,
            'updatedAt', instant_text(n.updated_at), 'createdAt', instant_text(n.created_at)) END
    FROM json_to_recordset(events) AS e(pk text, sk text, "notificationId" uuid, change text, notification json)
    JOIN notifications AS n
        ON n.id = e."notificationId" AND n.event_pk = e.pk AND instant_text(n.updated_at) || '#' || n.event_id = e.sk
    ON CONFLICT DO NOTHING;

    SELECT o.event_pk, o.event_sk, o.change, o.notification ->> 'id', o.notification ->> 'userId',
           o.notification ->> 'userEmail', o.notification::text
    FROM outbox AS o
    JOIN json_to_recordset(events) AS e(pk text, sk text) ON o.event_pk = e.pk AND o.event_sk = e.sk
    ORDER BY o.event_pk, o.event_sk
$$;

-- As 0005 has it for the others.
DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION merged_events(json) SECURITY DEFINER SET search_path = %I, pg_temp', current_schema());
    EXECUTE format('ALTER FUNCTION owe_facts(json) SECURITY DEFINER SET search_path = %I, pg_temp', current_schema());
END
$$;
REVOKE EXECUTE ON FUNCTION merged_events(json), owe_facts(json) FROM PUBLIC;
