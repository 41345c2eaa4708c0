-- Who sells, where, and with which tax: every order belongs to a tenant and one of its locations.
CREATE TABLE tenants (
    tenant_id text PRIMARY KEY,
    name text NOT NULL
);
CREATE TABLE locations (
    tenant_id text NOT NULL REFERENCES tenants (tenant_id),
    location_id text NOT NULL,
    name text NOT NULL,
    currency text NOT NULL,
    tax_basis_points integer NOT NULL CHECK (tax_basis_points >= 0),
    PRIMARY KEY (tenant_id, location_id)
);
INSERT INTO tenants (tenant_id, name) VALUES ('brew-haven', 'Brew Haven');
INSERT INTO locations (tenant_id, location_id, name, currency, tax_basis_points)
VALUES ('brew-haven', 'main-street', 'Brew Haven, Main Street', 'USD', 887);
-- The number called at the counter. A sequence, because a row would make every order of a location wait for the last.
CREATE SEQUENCE order_numbers AS bigint MINVALUE 0 START 0;
