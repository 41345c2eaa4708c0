-- What is made of a confirmed order, once: a ticket for the counter, or a shipment.
CREATE TABLE tickets (
    order_id TEXT PRIMARY KEY REFERENCES orders (order_id),
    tenant_id TEXT NOT NULL,
    location_id TEXT NOT NULL,
    -- The location's own date on which it is handed over, and the so-manieth of that day it is.
    day TEXT NOT NULL,
    position INTEGER NOT NULL CHECK (position > 0),
    created_at TEXT NOT NULL,
    UNIQUE (tenant_id, location_id, day, position)
) WITHOUT ROWID;
-- The last position given out.
CREATE TABLE ticket_days (
    tenant_id TEXT NOT NULL,
    location_id TEXT NOT NULL,
    day TEXT NOT NULL,
    last_position INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, location_id, day)
) WITHOUT ROWID;
CREATE TABLE shipments (
    order_id TEXT PRIMARY KEY REFERENCES orders (order_id),
    tracking_number TEXT NOT NULL UNIQUE,
    created_at TEXT NOT NULL
) WITHOUT ROWID;
