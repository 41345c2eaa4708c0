-- The board asks for the open orders of one location: the location belongs into the index, before the status.
DROP INDEX orders_by_status;
CREATE INDEX orders_by_status ON orders (tenant_id, location_id, status, order_id);
