-- Removes facts that are stored and published from the outbox, and claims up to `claims` orphaned facts, oldest first:
-- those committed more than 15 minutes ago and not claimed since. The caller publishes what it gets; nobody else gets it
-- within the next 15 minutes.
--
-- delivered: an array of {"pk", "sk"}, the keys of the causing events.
CREATE FUNCTION acknowledge_facts(delivered json, claims integer)
RETURNS TABLE (pk text, sk text, kind text, notification_id text, user_id text, user_email text, notification text)
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
        WITH orphaned AS (
            SELECT o.event_pk, o.event_sk
            FROM outbox AS o
            WHERE o.committed_at < now() - interval '15 minutes'  -- implied by the next line, but indexed
              AND o.committed_at + o.claimed_after < now() - interval '15 minutes'
            ORDER BY o.committed_at
            LIMIT claims
            FOR UPDATE SKIP LOCKED
        ), claimed AS (
            UPDATE outbox AS o SET claimed_after = now() - o.committed_at
            FROM orphaned AS f
            WHERE o.event_pk = f.event_pk AND o.event_sk = f.event_sk
            RETURNING o.*
        )
        SELECT c.event_pk, c.event_sk, c.kind, c.notification ->> 'id', c.notification ->> 'userId',
               c.notification ->> 'userEmail', c.notification::text
        FROM claimed AS c
        ORDER BY c.committed_at;
END
$$;
