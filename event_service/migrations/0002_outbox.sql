-- Facts that are committed and not yet both stored and published. Each stays from the transaction that changed the
-- notification until settle_outbox() is told that its fact is out.
CREATE TABLE outbox (
    event_pk      text COLLATE "C" NOT NULL,
    event_sk      text COLLATE "C" NOT NULL,
    change        text NOT NULL CHECK (change IN ('created', 'updated', 'deleted')),
    notification  json NOT NULL,
    committed_at  timestamptz NOT NULL DEFAULT now(),
    claimed_after interval NOT NULL DEFAULT '0',
    PRIMARY KEY (event_pk, event_sk)
);

COMMENT ON TABLE outbox IS 'facts not yet stored and published; event_pk and event_sk name the causing event';
COMMENT ON COLUMN outbox.notification IS 'the eventData of the fact: the notification as it became; json, not jsonb, keeps it as it was sent';
COMMENT ON COLUMN outbox.claimed_after IS 'how long after its commit an invocation other than the first last took it to publish it; 0 if none did';

CREATE INDEX outbox_committed_at ON outbox (committed_at);

-- Every row is deleted seconds after it was written: without this the table would mostly be dead rows.
ALTER TABLE outbox SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
