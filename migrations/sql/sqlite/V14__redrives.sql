-- Parked messages that were sent back to work: who, when, what, and how it ended.
CREATE TABLE redrives (
    redrive_id text PRIMARY KEY,
    queue text NOT NULL,
    fingerprint text NOT NULL,
    reason text NOT NULL,
    event_id text,
    order_id text,
    body text NOT NULL,
    actor text NOT NULL,
    at text NOT NULL,
    outcome text CHECK (outcome IN ('applied', 'dropped', 'parked_again', 'unknown')),
    ended_at text
);
CREATE INDEX redrives_of_order ON redrives (order_id) WHERE order_id IS NOT NULL;
