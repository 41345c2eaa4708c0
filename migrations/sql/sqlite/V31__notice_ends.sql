-- How each notice fared: the provider's own id of it, or why it was not sent. Workers from before this write `refused`,
-- which is read as `failed`. SQLite changes no CHECK of a table that is there: the table is made anew.
DROP VIEW contract_notifications;
ALTER TABLE notifications RENAME TO notifications_before;
CREATE TABLE notifications (
    event_id TEXT NOT NULL,
    channel TEXT NOT NULL,
    order_id TEXT,
    kind TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('pending', 'sent', 'failed', 'refused', 'suppressed')),
    attempts INTEGER NOT NULL,
    created_at TEXT NOT NULL,
    sent_at TEXT,
    claimed_until TEXT,
    message_id TEXT,
    reason TEXT,
    PRIMARY KEY (event_id, channel)
) WITHOUT ROWID;
INSERT INTO notifications (event_id, channel, order_id, kind, state, attempts, created_at, sent_at, claimed_until)
SELECT event_id, channel, order_id, kind, state, attempts, created_at, sent_at, claimed_until FROM notifications_before;
DROP TABLE notifications_before;
CREATE INDEX notifications_journey ON notifications (order_id) WHERE order_id IS NOT NULL;
CREATE INDEX notifications_by_time ON notifications (created_at);
CREATE VIEW contract_notifications AS
SELECT order_id, kind, channel, CASE state WHEN 'refused' THEN 'failed' ELSE state END AS state, attempts, sent_at,
    event_id, reason, message_id, created_at
FROM notifications;
