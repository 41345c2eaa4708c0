-- The rate that an order was taxed with, whatever its location's becomes. Programs older than this column know one rate.
ALTER TABLE orders ADD COLUMN tax_basis_points integer NOT NULL DEFAULT 887 CHECK (tax_basis_points >= 0);
-- When a location is open, on its own clock, and what it can hand over within one pick-up slot.
ALTER TABLE locations
    ADD COLUMN time_zone text NOT NULL DEFAULT 'America/New_York',
    ADD COLUMN slot_minutes integer NOT NULL DEFAULT 15 CHECK (slot_minutes BETWEEN 1 AND 240),
    ADD COLUMN slot_capacity integer NOT NULL DEFAULT 20 CHECK (slot_capacity >= 0);
-- Minutes since midnight; 1440 is the midnight at the end of the day. A weekday without a row is closed.
CREATE TABLE opening_hours (
    tenant_id text NOT NULL,
    location_id text NOT NULL,
    weekday integer NOT NULL CHECK (weekday BETWEEN 1 AND 7),
    opens integer NOT NULL CHECK (opens >= 0),
    closes integer NOT NULL CHECK (closes > opens AND closes <= 1440),
    PRIMARY KEY (tenant_id, location_id, weekday),
    FOREIGN KEY (tenant_id, location_id) REFERENCES locations (tenant_id, location_id)
);
-- Locations that are there already took orders at any time, and go on to until somebody says otherwise.
INSERT INTO opening_hours (tenant_id, location_id, weekday, opens, closes)
SELECT tenant_id, location_id, weekday, 0, 1440 FROM locations, generate_series(1, 7) AS weekday;
