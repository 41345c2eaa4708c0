-- The start of the pick-up slot that the order has a place in; programs older than this column take no place.
ALTER TABLE orders ADD COLUMN slot_at TEXT;
-- Places taken. A place is taken in the order's own transaction, and given back when the order ends badly.
CREATE TABLE pickup_slots (
    tenant_id TEXT NOT NULL,
    location_id TEXT NOT NULL,
    starts_at TEXT NOT NULL,
    taken INTEGER NOT NULL CHECK (taken >= 0),
    PRIMARY KEY (tenant_id, location_id, starts_at)
) WITHOUT ROWID;
