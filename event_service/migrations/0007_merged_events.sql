-- What rebuilds applied. A rebuild makes no facts: nearly all of its events had theirs long ago. But one that is stored
-- and not applied yet, because its batch is between the two or died there, has none, and a rebuild must not take it
-- away: when the service comes to apply that event, its fact goes into the outbox.
CREATE TABLE merged_events (
    notification_id uuid NOT NULL,
    occurred_at     timestamptz NOT NULL,
    deletion        boolean NOT NULL,
    event_id        text COLLATE "C" NOT NULL,
    event_pk        text COLLATE "C" NOT NULL,
    was_live        boolean NOT NULL,
    was_at          timestamptz NOT NULL,
    was_id          text COLLATE "C" NOT NULL,
    was_pk          text COLLATE "C" NOT NULL,
    pending         boolean NOT NULL,
    merged_at       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (notification_id, occurred_at, deletion, event_id, event_pk)
);

COMMENT ON TABLE merged_events IS 'events that a rebuild applied, in the order in which they decide; they count for 30 days';
COMMENT ON COLUMN merged_events.was_live IS 'whether there was a live notification before the first of these events';
COMMENT ON COLUMN merged_events.was_at IS 'with was_id and was_pk, the event that had decided the row; -infinity for no row';
COMMENT ON COLUMN merged_events.pending IS 'the service had not applied it; false: it may have, in a table that was emptied';

-- Notes which of the events that are about to be merged (0006) the rows do not have yet.
--
-- events: as merge_notifications() takes them, with one member more: "chain", an array of {"pk", "id", "deletion",
-- "occurredAt"}, the events of the user and item that were found together.
-- emptied: the table was empty when the rebuild began, so that what has no row may well have been applied.
CREATE FUNCTION note_merged_events(events json, emptied boolean)
RETURNS void
LANGUAGE plpgsql
AS $$
BEGIN
    -- In the order in which everybody locks rows: nobody changes them between the note and the change.
    PERFORM FROM notifications AS n
    JOIN json_to_recordset(events) AS e(notification json) ON n.id = (e.notification ->> 'id')::uuid
    ORDER BY n.user_id, n.item_id
    FOR UPDATE OF n;

    INSERT INTO merged_events (notification_id, occurred_at, deletion, event_id, event_pk,
                               was_live, was_at, was_id, was_pk, pending)
    SELECT i.id, c."occurredAt", c.deletion, c.id, c.pk,
           coalesce(m.was_live, n.deleted_at IS NULL AND n.id IS NOT NULL),
           coalesce(m.was_at, n.updated_at, '-infinity'),
           coalesce(m.was_id, n.event_id, ''),
           coalesce(m.was_pk, n.event_pk, ''),
           coalesce(m.pending, n.id IS NOT NULL OR NOT emptied)
    FROM json_to_recordset(events) AS e(chain json, notification json),
         LATERAL (SELECT (e.notification ->> 'id')::uuid AS id) AS i
         LEFT JOIN notifications AS n ON n.id = i.id
         -- A row that a rebuild made, from another stream or an earlier page.
         LEFT JOIN merged_events AS m
             ON (m.notification_id, m.occurred_at, m.deletion, m.event_id, m.event_pk)
              = (n.id, n.updated_at, n.deleted_at IS NOT NULL, n.event_id, n.event_pk),
         json_to_recordset(e.chain) AS c(pk text, id text, deletion boolean, "occurredAt" timestamptz)
    WHERE n.id IS NULL
       OR (c."occurredAt", c.deletion, c.id COLLATE "C", c.pk COLLATE "C")
        > (m.was_at, NOT m.was_live, m.was_id, m.was_pk)
       OR (c."occurredAt", c.deletion, c.id COLLATE "C", c.pk COLLATE "C")
        > (n.updated_at, n.deleted_at IS NOT NULL, n.event_id, n.event_pk)
    ON CONFLICT DO NOTHING;
END
$$;

-- Columns that tell what a rebuild that was broken off can go on with.
ALTER TABLE rebuild_progress
    ADD COLUMN emptied boolean NOT NULL DEFAULT false,
    ADD COLUMN relation oid,
    ADD COLUMN begun_at timestamptz NOT NULL DEFAULT now();

COMMENT ON COLUMN rebuild_progress.emptied IS 'whether the target was empty when the rebuild began';
COMMENT ON COLUMN rebuild_progress.relation IS 'the file node of the target: TRUNCATE gives it another';

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
    noted record;
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
            ELSE
                IF first_seen < old.created_at THEN
                    UPDATE notifications AS n SET created_at = first_seen
                    WHERE n.user_id = event.user_id AND n.item_id = event.item_id;
                END IF;
                IF event.factless THEN
                    -- Did a rebuild apply it? Then the kind is what it was in the order of the events.
                    SELECT coalesce(NOT (
                               SELECT b.deletion FROM merged_events AS b
                               WHERE b.notification_id = m.notification_id
                                 AND (b.occurred_at, b.deletion, b.event_id, b.event_pk)
                                   < (m.occurred_at, m.deletion, m.event_id, m.event_pk)
                               ORDER BY b.occurred_at DESC, b.deletion DESC, b.event_id DESC, b.event_pk DESC
                               LIMIT 1), m.was_live) AS live INTO noted
                    FROM merged_events AS m
                    WHERE (m.notification_id, m.occurred_at, m.deletion, m.event_id, m.event_pk)
                        = (event.id, event.occurred_at, event.deletion, event.event_id, event.pk)
                      AND m.merged_at > now() - interval '30 days'
                      -- Or did the service, and another overtook it? Not where all that came later have no fact either.
                      AND (m.pending OR NOT EXISTS (
                          SELECT FROM merged_events AS l
                          WHERE l.notification_id = m.notification_id
                            AND (l.occurred_at, l.deletion, l.event_id, l.event_pk)
                              > (m.occurred_at, m.deletion, m.event_id, m.event_pk)
                            AND NOT EXISTS (
                                SELECT FROM json_to_recordset(events) AS f(
                                    pk text, id text, factless boolean, notification json)
                                WHERE f.factless AND f.pk = l.event_pk AND f.id = l.event_id
                                  AND (f.notification ->> 'updatedAt')::timestamptz = l.occurred_at)));
                    kind := CASE WHEN noted.live AND event.deletion THEN 'deleted'
                                 WHEN noted.live THEN 'updated'
                                 WHEN noted.live IS NOT NULL AND NOT event.deletion THEN 'created' END;
                END IF;
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
