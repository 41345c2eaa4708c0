-- A session's orders, newest first.
CREATE INDEX orders_of_session ON orders (session_hash, order_id) WHERE session_hash IS NOT NULL;
