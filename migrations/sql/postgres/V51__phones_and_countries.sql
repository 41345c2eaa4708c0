-- Phone numbers are stored in E.164 with their extension beside them; the country of a location says what a number
-- without a country code means. Orders from before keep the number as it was typed.
ALTER TABLE orders ADD COLUMN customer_phone_extension text;
ALTER TABLE locations ADD COLUMN country text NOT NULL DEFAULT 'US';
