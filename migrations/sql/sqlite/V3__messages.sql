-- What each consumer has applied, and what is still to be sent: written in the transaction of the effect itself.
CREATE TABLE inbox (
    consumer TEXT NOT NULL,
    event_id TEXT NOT NULL,
    at TEXT NOT NULL,
    PRIMARY KEY (consumer, event_id)
) WITHOUT ROWID;

CREATE TABLE outbox (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    order_id TEXT,
    envelope TEXT NOT NULL,
    created_at TEXT NOT NULL,
    published_at TEXT,
    claimed_by TEXT,
    claimed_until TEXT
);
CREATE INDEX outbox_unpublished ON outbox (id) WHERE published_at IS NULL;
