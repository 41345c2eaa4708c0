-- Parked messages that were sent back to work: who, when, what, and how it ended.
CREATE TABLE redrives (
    redrive_id uuid PRIMARY KEY,
    queue text NOT NULL,
    fingerprint text NOT NULL,
    reason text NOT NULL,
    event_id uuid,
    order_id uuid,
    body text NOT NULL,
    actor text NOT NULL,
    at timestamptz NOT NULL,
    outcome text CHECK (outcome IN ('applied', 'dropped', 'parked_again', 'unknown')),
    ended_at timestamptz
);
CREATE INDEX redrives_of_order ON redrives (order_id) WHERE order_id IS NOT NULL;
