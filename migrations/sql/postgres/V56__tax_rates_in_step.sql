-- A rate has two columns, and whoever sets one means the rate: the other one follows. Before, millionths that were set
-- alone had no effect, and nothing said so.
--
-- Where the two said different rates, the basis points were charged, and stay. Where they differed by the rounding, the
-- millionths were.
UPDATE locations SET tax_rate_millionths = NULL WHERE abs(tax_rate_millionths - tax_basis_points * 100::bigint) > 50;
UPDATE locations SET tax_basis_points = (tax_rate_millionths + 50) / 100
WHERE tax_basis_points <> (tax_rate_millionths + 50) / 100;
CREATE FUNCTION keep_tax_rates_in_step() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' OR NEW.tax_rate_millionths IS DISTINCT FROM OLD.tax_rate_millionths THEN
        NEW.tax_basis_points := coalesce((NEW.tax_rate_millionths + 50) / 100, NEW.tax_basis_points);
    ELSIF NEW.tax_basis_points IS DISTINCT FROM OLD.tax_basis_points THEN
        NEW.tax_rate_millionths := NEW.tax_basis_points * 100;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER locations_tax_rates_in_step BEFORE INSERT OR UPDATE ON locations
FOR EACH ROW EXECUTE FUNCTION keep_tax_rates_in_step();
