-- Returns an instant as the service writes it: 2026-11-23T06:54:06.410000Z.
CREATE FUNCTION instant_text(instant timestamptz) RETURNS text LANGUAGE sql STABLE
AS $$ SELECT to_char(instant AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') $$;

-- Applies events to notifications, each together with its fact in the outbox. Returns a row per event:
--
--   status  applied; superseded (a later event had decided the row); duplicate (applied before); locked (another session
--           holds the row: nothing was done, try again)
--   late    by how many seconds a rescued notification is due after its deliver_at, otherwise null; also of a duplicate
--           whose fact still waits, because the earlier caller may have died before it said so
--   kind    and the columns after it: the event's fact that waits in the outbox, from this call or from an earlier one
--           whose caller did not publish it; null if none does
--
-- events: an array of {"pk", "sk", "id", "effect", "subject", "publishedAt", "notification"}; "notification" is the row
-- as the event makes it, {"id", "userId", "userEmail", "itemType", "itemId", "deliverAt", "notificationData", "updatedAt"}.
--
-- A function instead of one statement, because each statement in it sees what was committed before it began: the row
-- before the change, and the outbox rows of an overlapping delivery. That takes the isolation level read committed.
CREATE FUNCTION apply_events(events json)
RETURNS TABLE (pk text, sk text, status text, late double precision, kind text, notification_id text, user_id text,
               user_email text, notification text)
LANGUAGE plpgsql
SET lock_timeout = '200ms'
AS $$
#variable_conflict use_column
DECLARE
    event record;
    old notifications;
    exists_already boolean;
    is_newer boolean;
    announces boolean;
    told_live boolean;
    clock timestamptz;
    queried timestamptz;
    rescue timestamptz;
    first_seen timestamptz;
    locked_id uuid;
    fact_kind text;
    made text;
    outcome text;
    pks text[] := '{}';
    sks text[] := '{}';
    outcomes text[] := '{}';
    lateness double precision[] := '{}';
BEGIN
    FOR event IN
        SELECT e.pk, e.sk, e.subject, e."publishedAt" AS published_at, e.effect = 'delete' AS is_deletion,
               e.notification::text AS made, n.id, n."userId" AS user_id, n."itemId" AS item_id,
               n."userEmail" AS user_email, n."itemType" AS item_type, n."deliverAt" AS deliver_at,
               n."notificationData"::jsonb AS data, n."updatedAt" AS updated_at,
               CASE WHEN e.effect = 'delete' THEN n."updatedAt" END AS deleted_at, ROW(n."updatedAt", e.effect, e.id, e.pk)::precedence AS precedence
        FROM json_to_recordset(events) AS e(pk text, sk text, id text, effect effect, subject text,
                                            "publishedAt" timestamptz, notification json),
             json_to_record(e.notification) AS n(
                 id uuid, "userId" text, "itemId" text, "userEmail" text, "itemType" text, "deliverAt" timestamptz,
                 "notificationData" json, "updatedAt" timestamptz)
        -- Every session inserts rows in the same order, so that none waits for another in a circle.
        ORDER BY n."userId" COLLATE "C", e.subject COLLATE "C", n."itemId" COLLATE "C", precedence
    LOOP
        outcome := NULL;
        rescue := NULL;
        fact_kind := NULL;
        IF event.id = locked_id THEN
            outcome := 'locked';  -- an older event of the notification comes first
        ELSE
            -- Rows that are free do not wait for a row that is not.
            SELECT * INTO old FROM notifications AS n WHERE n.id = event.id FOR UPDATE SKIP LOCKED;
            exists_already := FOUND;
            IF NOT exists_already AND EXISTS (SELECT FROM notifications AS n WHERE n.id = event.id) THEN
                outcome := 'locked';
            END IF;
        END IF;

        IF outcome IS NULL THEN
            is_newer := NOT exists_already OR event.precedence > old.decided_by;
            announces := (NOT exists_already OR event.precedence >= old.decided_by)
                         AND (old.announced IS NULL OR event.precedence > old.announced);
            told_live := old.announced IS NOT NULL AND (old.announced).effect <> 'delete';
            IF announces THEN
                fact_kind := CASE WHEN event.is_deletion THEN CASE WHEN told_live THEN 'deleted' END
                                  WHEN told_live THEN 'updated' ELSE 'created' END;
            END IF;
            first_seen := least(old.created_at, event.updated_at);
            clock := service_clock();
            queried := last_query(old.queried_at, old.due_at, old.deleted_at, old.query_missed, clock);
            -- A row that a rebuild had put there in time for its query needs no rescue, and could be found twice with one.
            IF (is_newer OR announces AND old.query_missed) AND NOT event.is_deletion THEN
                rescue := rescue_time(event.deliver_at, event.published_at, queried, clock);
            END IF;

            IF NOT exists_already THEN
                INSERT INTO notifications (id, user_id, subject_type, item_id, user_email, item_type, deliver_at,
                                           notification_data, decided_by, created_at, updated_at, deleted_at,
                                           announced, due_at, query_missed)
                VALUES (event.id, event.user_id, event.subject, event.item_id, event.user_email, event.item_type,
                        event.deliver_at, event.data, event.precedence, first_seen, event.updated_at, event.deleted_at,
                        CASE WHEN fact_kind IS NOT NULL THEN event.precedence END, coalesce(rescue, event.deliver_at),
                        coalesce(rescue IS NULL AND query_time(event.deliver_at) < clock, false))
                ON CONFLICT DO NOTHING;
                IF NOT FOUND THEN
                    outcome := 'locked';  -- another session inserted the row just now
                END IF;
            ELSIF is_newer THEN
                UPDATE notifications AS n
                SET user_email = event.user_email, item_type = event.item_type, deliver_at = event.deliver_at,
                    notification_data = event.data, decided_by = event.precedence, created_at = first_seen,
                    updated_at = event.updated_at, deleted_at = event.deleted_at,
                    announced = CASE WHEN fact_kind IS NULL THEN n.announced ELSE event.precedence END,
                    due_at = coalesce(rescue, event.deliver_at), queried_at = queried,
                    query_missed = coalesce(rescue IS NULL AND query_time(event.deliver_at) < clock, false)
                WHERE n.id = event.id;
            ELSIF fact_kind IS NOT NULL THEN
                -- A rebuild or an erasure had applied the event, without a fact.
                UPDATE notifications AS n
                SET announced = event.precedence, due_at = coalesce(rescue, n.due_at),
                    query_missed = n.query_missed AND rescue IS NULL
                WHERE n.id = event.id;
            ELSIF first_seen < old.created_at THEN
                UPDATE notifications AS n SET created_at = first_seen WHERE n.id = event.id;
            END IF;
        END IF;

        IF outcome = 'locked' THEN
            locked_id := event.id;
        ELSE
            outcome := CASE WHEN is_newer OR fact_kind IS NOT NULL THEN 'applied'
                            WHEN event.precedence < old.decided_by THEN 'superseded' ELSE 'duplicate' END;
            IF outcome = 'duplicate' THEN
                rescue := nullif(old.due_at, old.deliver_at);
            END IF;
            IF fact_kind IS NOT NULL THEN
                made := event.made;
                IF NOT is_newer AND (event.user_email, event.data) IS DISTINCT FROM (old.user_email, old.notification_data)
                THEN
                    -- An erasure has emptied the row since the event was read.
                    made := json_build_object(
                        'id', old.id, 'userId', old.user_id, 'userEmail', old.user_email, 'itemType', old.item_type,
                        'itemId', old.item_id, 'deliverAt', instant_text(old.deliver_at),
                        'notificationData', old.notification_data, 'updatedAt', instant_text(old.updated_at))::text;
                END IF;
                INSERT INTO outbox (event_pk, event_sk, kind, notification)
                -- Text, because jsonb would not keep a number as it was written.
                VALUES (event.pk, event.sk, fact_kind,
                        (left(made, -1) || ',"createdAt":"' || instant_text(first_seen) || '"}')::json)
                ON CONFLICT DO NOTHING;
            END IF;
        END IF;
        pks := pks || event.pk;
        sks := sks || event.sk;
        outcomes := outcomes || outcome;
        lateness := lateness || extract(epoch FROM rescue - event.deliver_at)::double precision;
    END LOOP;

    -- While this caller publishes the facts of an earlier attempt, no other invocation claims them as orphaned.
    UPDATE outbox AS o SET claimed_after = now() - o.committed_at
    FROM (
        SELECT w.event_pk, w.event_sk
        FROM unnest(pks, sks) AS e(pk, sk)
        JOIN outbox AS w ON w.event_pk = e.pk AND w.event_sk = e.sk
        WHERE w.committed_at < now()
        FOR UPDATE OF w SKIP LOCKED) AS waiting
    WHERE o.event_pk = waiting.event_pk AND o.event_sk = waiting.event_sk;

    -- rescue_time() counts on the commit within 5 seconds. Too late for that, for whatever reason (the server stood still,
    -- say), nothing may be committed: the next attempt decides by its own time.
    IF clock_timestamp() > statement_timestamp() + interval '4 seconds' THEN
        RAISE EXCEPTION 'the change came too late to be seen in time' USING ERRCODE = 'query_canceled';
    END IF;

    RETURN QUERY
        SELECT e.pk, e.sk, e.status, CASE WHEN e.status = 'applied' OR o.event_pk IS NOT NULL THEN e.late END, o.kind,
               o.notification ->> 'id', o.notification ->> 'userId', o.notification ->> 'userEmail', o.notification::text
        FROM unnest(pks, sks, outcomes, lateness) AS e(pk, sk, status, late)
        LEFT JOIN outbox AS o ON o.event_pk = e.pk AND o.event_sk = e.sk;
END
$$;
