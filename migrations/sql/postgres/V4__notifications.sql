-- What people were told, through which channel, and how it went.
CREATE TABLE notifications (
    event_id uuid NOT NULL,
    channel text NOT NULL,
    order_id uuid,
    kind text NOT NULL,
    state text NOT NULL CHECK (state IN ('pending', 'sent', 'refused', 'suppressed')),
    attempts integer NOT NULL,
    created_at timestamptz NOT NULL,
    sent_at timestamptz,
    PRIMARY KEY (event_id, channel)
);
