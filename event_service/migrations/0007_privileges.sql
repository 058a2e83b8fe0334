-- The functions that the service calls run as their owner: the caller needs the right to execute them and no right on the
-- tables, and so cannot read everybody's notifications. That is safe because the caller cannot change their search path:
-- https://www.postgresql.org/docs/current/sql-createfunction.html#SQL-CREATEFUNCTION-SECURITY
DO $$
DECLARE
    signature text;
BEGIN
    FOREACH signature IN ARRAY ARRAY['apply_events(json)', 'acknowledge_facts(json, integer)'] LOOP
        EXECUTE format('ALTER FUNCTION %s SECURITY DEFINER SET search_path = %I, pg_temp', signature, current_schema());
        EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', signature);
    END LOOP;
END
$$;

-- Everyone may execute a new function, unless that is revoked. The owner's functions still call these.
REVOKE EXECUTE ON FUNCTION
    service_clock(), query_time(timestamptz), instant_text(timestamptz), merge_notifications(regclass, json),
    last_query(timestamptz, timestamptz, timestamptz, boolean, timestamptz),
    rescue_time(timestamptz, timestamptz, timestamptz, timestamptz)
FROM PUBLIC;
