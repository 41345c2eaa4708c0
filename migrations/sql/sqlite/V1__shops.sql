-- Who sells, where, and with which tax: every order belongs to a tenant and one of its locations.
CREATE TABLE tenants (
    tenant_id TEXT PRIMARY KEY,
    name TEXT NOT NULL
);
CREATE TABLE locations (
    tenant_id TEXT NOT NULL REFERENCES tenants (tenant_id),
    location_id TEXT NOT NULL,
    name TEXT NOT NULL,
    currency TEXT NOT NULL,
    tax_basis_points INTEGER NOT NULL CHECK (tax_basis_points >= 0),
    next_number INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant_id, location_id)
);
INSERT INTO tenants (tenant_id, name) VALUES ('brew-haven', 'Brew Haven');
INSERT INTO locations (tenant_id, location_id, name, currency, tax_basis_points)
VALUES ('brew-haven', 'main-street', 'Brew Haven, Main Street', 'USD', 887);
