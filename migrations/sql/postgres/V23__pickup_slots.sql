-- The start of the pick-up slot that the order has a place in; programs older than this column take no place.
ALTER TABLE orders ADD COLUMN slot_at timestamptz;
-- Places taken. A place is taken in the order's own transaction, and given back when the order ends badly.
CREATE TABLE pickup_slots (
    tenant_id text NOT NULL,
    location_id text NOT NULL,
    starts_at timestamptz NOT NULL,
    taken integer NOT NULL CHECK (taken >= 0),
    PRIMARY KEY (tenant_id, location_id, starts_at)
);
