-- The notification-scheduler queries once at each full minute, for the rows due one minute later, and never again.

-- The clock of everything below. A test that needs another clock replaces this function.
CREATE FUNCTION service_clock() RETURNS timestamptz LANGUAGE sql VOLATILE AS $$ SELECT clock_timestamp() $$;

-- Returns when the scheduler queries for rows due at an instant.
CREATE FUNCTION query_time(due_at timestamptz) RETURNS timestamptz LANGUAGE sql IMMUTABLE
AS $$ SELECT due_at - interval '1 minute' $$;

-- Returns the last query of the scheduler that found a row, or an earlier version of it, live. Only a full minute is ever
-- queried for.
CREATE FUNCTION last_query(
    queried_at timestamptz, due_at timestamptz, deleted_at timestamptz, query_missed boolean, clock timestamptz
) RETURNS timestamptz LANGUAGE sql IMMUTABLE
AS $$
    SELECT greatest(
        queried_at,
        CASE WHEN deleted_at IS NULL AND NOT query_missed AND query_time(due_at) <= clock
              AND due_at = date_trunc('minute', due_at, 'UTC') THEN query_time(due_at) END)
$$;

-- Returns the due_at that rescues a notification that the service applies too late for the scheduler's query, and null if
-- deliver_at will do. It is late if the event was published before the query and is applied later than 5 seconds
-- before it (the commit takes time), at most a day after it, and the person has not been told since it was published.
CREATE FUNCTION rescue_time(
    deliver_at timestamptz, published_at timestamptz, last_query timestamptz, clock timestamptz
) RETURNS timestamptz LANGUAGE sql IMMUTABLE
AS $$
    SELECT CASE
        WHEN published_at < query_time(deliver_at)
         AND clock > query_time(deliver_at) - interval '5 seconds'
         AND clock <= query_time(deliver_at) + interval '24 hours'
         AND coalesce(last_query < published_at, true)
        -- The first full minute that is at least 5 seconds away is the next query; it is for one minute later.
        THEN date_trunc('minute', clock + interval '5 seconds' - interval '1 microsecond', 'UTC') + interval '2 minutes'
    END
$$;
