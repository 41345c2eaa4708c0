-- A rate has two columns, and whoever sets one means the rate: the other one follows. Before, millionths that were set
-- alone had no effect, and nothing said so.
--
-- Where the two said different rates, the basis points were charged, and stay. Where they differed by the rounding, the
-- millionths were.
UPDATE locations SET tax_rate_millionths = NULL WHERE abs(tax_rate_millionths - tax_basis_points * 100) > 50;
UPDATE locations SET tax_basis_points = (tax_rate_millionths + 50) / 100
WHERE tax_basis_points <> (tax_rate_millionths + 50) / 100;
-- What one trigger writes, the others see too: each leaves columns alone that are in step.
CREATE TRIGGER locations_tax_rate_inserted AFTER INSERT ON locations
WHEN NEW.tax_basis_points <> (NEW.tax_rate_millionths + 50) / 100
BEGIN
    UPDATE locations SET tax_basis_points = (NEW.tax_rate_millionths + 50) / 100
    WHERE tenant_id = NEW.tenant_id AND location_id = NEW.location_id;
END;
CREATE TRIGGER locations_tax_millionths_set AFTER UPDATE ON locations
WHEN NEW.tax_rate_millionths IS NOT OLD.tax_rate_millionths
    AND NEW.tax_basis_points <> (NEW.tax_rate_millionths + 50) / 100
BEGIN
    UPDATE locations SET tax_basis_points = (NEW.tax_rate_millionths + 50) / 100
    WHERE tenant_id = NEW.tenant_id AND location_id = NEW.location_id;
END;
CREATE TRIGGER locations_tax_basis_points_set AFTER UPDATE ON locations
WHEN NEW.tax_rate_millionths IS OLD.tax_rate_millionths AND NEW.tax_basis_points <> OLD.tax_basis_points
    AND NEW.tax_basis_points IS NOT (NEW.tax_rate_millionths + 50) / 100
BEGIN
    UPDATE locations SET tax_rate_millionths = NEW.tax_basis_points * 100
    WHERE tenant_id = NEW.tenant_id AND location_id = NEW.location_id;
END;
