-- What people were told, through which channel, and how it went.
CREATE TABLE notifications (
    event_id TEXT NOT NULL,
    channel TEXT NOT NULL,
    order_id TEXT,
    kind TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('pending', 'sent', 'refused', 'suppressed')),
    attempts INTEGER NOT NULL,
    created_at TEXT NOT NULL,
    sent_at TEXT,
    PRIMARY KEY (event_id, channel)
) WITHOUT ROWID;
