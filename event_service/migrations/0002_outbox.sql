-- Facts that are committed and not yet both stored and published. Each stays from the transaction that changed the
-- notification until settle_outbox() is told that its fact is out.
CREATE TABLE outbox (
    event_pk      text COLLATE "C" NOT NULL,
    event_sk      text COLLATE "C" NOT NULL,
    change        text NOT NULL CHECK (change IN ('created', 'updated', 'deleted')),
    notification  json NOT NULL,
    pending_since timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (event_pk, event_sk)
);

COMMENT ON TABLE outbox IS 'facts not yet stored and published; event_pk and event_sk name the causing event';
COMMENT ON COLUMN outbox.notification IS 'the eventData of the fact: the notification as it became; json, not jsonb, keeps it as it was sent';
COMMENT ON COLUMN outbox.pending_since IS 'when it was committed; from the moment a later invocation takes it along, when that was';

CREATE INDEX outbox_pending_since ON outbox (pending_since);

-- Every row is deleted seconds after it was written: without this the table would mostly be dead rows.
ALTER TABLE outbox SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
