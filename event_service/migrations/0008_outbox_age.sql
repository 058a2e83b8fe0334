-- Returns how many facts wait in the outbox, and for how many seconds the oldest of them has; 0 if none does.
CREATE FUNCTION outbox_age() RETURNS TABLE (facts bigint, oldest_seconds double precision)
LANGUAGE sql STABLE SECURITY DEFINER
AS $$
    SELECT count(*), coalesce(greatest(extract(epoch FROM clock_timestamp() - min(committed_at)), 0), 0)::double precision
    FROM outbox
$$;

-- Runs as its owner, like the functions in 0007_privileges.sql.
DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION outbox_age() SET search_path = %I, pg_temp', current_schema());
    REVOKE EXECUTE ON FUNCTION outbox_age() FROM PUBLIC;
END
$$;
