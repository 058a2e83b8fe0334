-- Removes the facts that are stored and published, and claims up to so many that were left behind over 15 minutes ago,
-- oldest first: whoever gets them publishes them, and nobody else does in the next 15 minutes.
--
-- delivered: an array of {"pk", "sk"}, the keys of the causing events.
CREATE FUNCTION settle_outbox(delivered json, claims integer)
RETURNS TABLE (pk text, sk text, change text, notification_id text, user_id text, user_email text, notification text)
LANGUAGE plpgsql
SET lock_timeout = '1s'
AS $$
#variable_conflict use_column
BEGIN
    DELETE FROM outbox
    WHERE (event_pk, event_sk) IN (
        SELECT o.event_pk, o.event_sk
        FROM outbox AS o
        JOIN json_to_recordset(delivered) AS d(pk text, sk text) ON o.event_pk = d.pk AND o.event_sk = d.sk
        ORDER BY o.event_pk, o.event_sk
        FOR UPDATE OF o);

    RETURN QUERY
        WITH left_behind AS (
            SELECT o.event_pk, o.event_sk
            FROM outbox AS o
            WHERE o.committed_at < now() - interval '15 minutes'
              AND o.committed_at + o.claimed_after < now() - interval '15 minutes'
            ORDER BY o.committed_at
            LIMIT claims
            FOR UPDATE SKIP LOCKED
        ), claimed AS (
            UPDATE outbox AS o SET claimed_after = now() - o.committed_at
            FROM left_behind AS l
            WHERE o.event_pk = l.event_pk AND o.event_sk = l.event_sk
            RETURNING o.*
        )
        SELECT c.event_pk, c.event_sk, c.change, c.notification ->> 'id', c.notification ->> 'userId',
               c.notification ->> 'userEmail', c.notification::text
        FROM claimed AS c
        ORDER BY c.committed_at;
END
$$;
