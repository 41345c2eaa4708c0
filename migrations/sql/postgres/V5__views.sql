-- What anyone outside may rely on while the tables change (docs/interfaces.md).
CREATE SCHEMA contract;
CREATE VIEW contract.orders AS
SELECT order_id, order_number, idempotency_key_hash, status, step, total_minor, currency, version, created_at, updated_at
FROM orders;
CREATE VIEW contract.order_items AS
SELECT order_id, product_id, quantity, unit_price_minor FROM order_items;
CREATE VIEW contract.order_history AS
SELECT order_id, seq, from_status, to_status, step, actor, note, at FROM order_history;
CREATE VIEW contract.payments AS
SELECT order_id, charge_id, kind, amount_minor, state, at FROM payments;
CREATE VIEW contract.outbox AS
SELECT id, kind, created_at, published_at FROM outbox;
CREATE VIEW contract.notifications AS
SELECT order_id, kind, channel, state, attempts, sent_at FROM notifications;
