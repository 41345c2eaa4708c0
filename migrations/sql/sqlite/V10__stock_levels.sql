-- What was last seen of each product's stock level: whoever reads a record again, or the table instead, knows it.
CREATE TABLE stock_levels (
    product_id TEXT PRIMARY KEY,
    version INTEGER NOT NULL,
    level TEXT NOT NULL CHECK (level IN ('in_stock', 'low', 'out')),
    received INTEGER NOT NULL,
    at TEXT NOT NULL
);
