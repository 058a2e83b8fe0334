-- The two functions do their work as their owner: who calls them needs the right to do so and none on the tables, and
-- so cannot read everybody's notifications. A search path that the caller cannot change is what makes that safe:
-- https://www.postgresql.org/docs/current/sql-createfunction.html#SQL-CREATEFUNCTION-SECURITY
DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION apply_events(json) SECURITY DEFINER SET search_path = %I, pg_temp', current_schema());
    EXECUTE format('ALTER FUNCTION settle_outbox(json, integer) SECURITY DEFINER SET search_path = %I, pg_temp',
                   current_schema());
END
$$;
REVOKE EXECUTE ON FUNCTION apply_events(json), settle_outbox(json, integer) FROM PUBLIC;
