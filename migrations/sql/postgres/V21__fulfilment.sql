-- What is made of a confirmed order, once: a ticket for the counter, or a shipment.
CREATE TABLE tickets (
    order_id uuid PRIMARY KEY REFERENCES orders (order_id),
    tenant_id text NOT NULL,
    location_id text NOT NULL,
    -- The location's own date on which it is handed over, and the so-manieth of that day it is.
    day date NOT NULL,
    position integer NOT NULL CHECK (position > 0),
    created_at timestamptz NOT NULL,
    UNIQUE (tenant_id, location_id, day, position)
);
-- The last position given out. One row a location and day: tickets of a day are made one after the other.
CREATE TABLE ticket_days (
    tenant_id text NOT NULL,
    location_id text NOT NULL,
    day date NOT NULL,
    last_position integer NOT NULL,
    PRIMARY KEY (tenant_id, location_id, day)
);
CREATE TABLE shipments (
    order_id uuid PRIMARY KEY REFERENCES orders (order_id),
    tracking_number text NOT NULL UNIQUE,
    created_at timestamptz NOT NULL
);
