-- Order numbers restart each day at each location. The day is the location's own; orders from before have none, and
-- programs from before write none and go on with the counter of the location.
ALTER TABLE orders ADD COLUMN number_day TEXT;
-- Also finds the orders with a number, the newest of which is meant.
CREATE UNIQUE INDEX orders_by_number ON orders (tenant_id, location_id, order_number, number_day);
-- The next number of a day. Taken in blocks, each in a transaction of its own.
CREATE TABLE order_number_days (
    tenant_id TEXT NOT NULL,
    location_id TEXT NOT NULL,
    day TEXT NOT NULL,
    next INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, location_id, day)
) WITHOUT ROWID;
