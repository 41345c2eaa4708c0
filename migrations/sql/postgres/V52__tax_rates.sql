-- Tax rates have four decimals of a percent: 8.875 % is 88,750 millionths, which basis points cannot say. Those stay,
-- rounded, for readers from before. A row without millionths was taxed with its basis points.
ALTER TABLE orders ADD COLUMN tax_rate_millionths integer CHECK (tax_rate_millionths >= 0);
ALTER TABLE locations ADD COLUMN tax_rate_millionths integer CHECK (tax_rate_millionths >= 0);
-- New York City, unless somebody has set another rate.
UPDATE locations SET tax_rate_millionths = 88750, tax_basis_points = 888
WHERE tenant_id = 'brew-haven' AND location_id = 'main-street' AND tax_basis_points = 887;
CREATE OR REPLACE VIEW contract.orders AS
SELECT order_id, order_number, idempotency_key_hash, status, step, total_minor, currency, version, created_at, updated_at,
    coalesce(tax_rate_millionths, tax_basis_points * 100) AS tax_rate_millionths
FROM orders;
