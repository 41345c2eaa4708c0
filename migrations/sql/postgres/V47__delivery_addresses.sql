-- Where a delivery goes, as JSON. Orders from before addresses were asked for, and orders that are no deliveries, have none.
ALTER TABLE orders ADD COLUMN delivery_address text;
