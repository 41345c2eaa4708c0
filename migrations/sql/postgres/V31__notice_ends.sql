-- How each notice fared: the provider's own id of it, or why it was not sent. Workers from before this write `refused`,
-- which is read as `failed`.
ALTER TABLE notifications ADD COLUMN message_id text;
ALTER TABLE notifications ADD COLUMN reason text;
ALTER TABLE notifications DROP CONSTRAINT notifications_state_check;
ALTER TABLE notifications ADD CONSTRAINT notifications_state_check
    CHECK (state IN ('pending', 'sent', 'failed', 'refused', 'suppressed'));
CREATE INDEX notifications_by_time ON notifications (created_at);
CREATE OR REPLACE VIEW contract.notifications AS
SELECT order_id, kind, channel, CASE state WHEN 'refused' THEN 'failed' ELSE state END AS state, attempts, sent_at,
    event_id, reason, message_id, created_at
FROM notifications;
