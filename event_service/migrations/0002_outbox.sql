-- Facts that are committed but not yet both stored and published. A row stays from the transaction that changed its
-- notification until acknowledge_facts() is told that the fact is out.
CREATE TABLE outbox (
    event_pk      text COLLATE "C" NOT NULL,
    event_sk      text COLLATE "C" NOT NULL,
    kind          text NOT NULL CHECK (kind IN ('created', 'updated', 'deleted')),
    notification  json NOT NULL,
    committed_at  timestamptz NOT NULL DEFAULT now(),
    claimed_after interval NOT NULL DEFAULT '0',
    PRIMARY KEY (event_pk, event_sk)
);

COMMENT ON TABLE outbox IS 'facts not yet stored and published; event_pk and event_sk are the key of the causing event';
COMMENT ON COLUMN outbox.notification IS 'the eventData of the fact; json, unlike jsonb, keeps it as it was written';
COMMENT ON COLUMN outbox.claimed_after IS 'how long after its commit another invocation claimed the fact to publish it';

CREATE INDEX outbox_committed_at ON outbox (committed_at);

-- Every row is deleted seconds after it was written: otherwise the table would mostly be dead rows.
ALTER TABLE outbox SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
