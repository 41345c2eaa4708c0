-- What an order's journey is read from: which delivery of a message had its effect, and all messages of one order.
ALTER TABLE inbox ADD COLUMN delivery integer;
CREATE INDEX outbox_journey ON outbox (order_id) WHERE order_id IS NOT NULL;
CREATE INDEX notifications_journey ON notifications (order_id) WHERE order_id IS NOT NULL;
