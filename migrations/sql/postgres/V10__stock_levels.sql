-- What was last seen of each product's stock level: whoever reads a record again, or the table instead, knows it.
CREATE TABLE stock_levels (
    product_id text PRIMARY KEY,
    version bigint NOT NULL,
    level text NOT NULL CHECK (level IN ('in_stock', 'low', 'out')),
    received bigint NOT NULL,
    at timestamptz NOT NULL
);
