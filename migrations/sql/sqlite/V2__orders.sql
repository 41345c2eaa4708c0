-- Orders, what is in them, what happened to them, and their money. Times are UTC text of one width, so that they sort.
CREATE TABLE orders (
    order_id TEXT PRIMARY KEY,
    tenant_id TEXT NOT NULL,
    location_id TEXT NOT NULL,
    order_number TEXT NOT NULL,
    order_type TEXT NOT NULL CHECK (order_type IN ('pickup', 'dine_in', 'delivery')),
    customer_name TEXT NOT NULL,
    customer_phone TEXT NOT NULL,
    customer_email TEXT NOT NULL,
    special_instructions TEXT NOT NULL,
    pickup_at TEXT,
    subtotal_minor INTEGER NOT NULL CHECK (subtotal_minor >= 0),
    tax_minor INTEGER NOT NULL CHECK (tax_minor >= 0),
    total_minor INTEGER NOT NULL CHECK (total_minor = subtotal_minor + tax_minor),
    currency TEXT NOT NULL,
    state TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('pending', 'confirmed', 'preparing', 'ready', 'completed', 'cancelled', 'failed')),
    step TEXT NOT NULL,
    version INTEGER NOT NULL,
    reason TEXT,
    session_hash TEXT,
    tracking_token TEXT NOT NULL,
    idempotency_key_hash TEXT NOT NULL UNIQUE,
    request_hash TEXT NOT NULL,
    next_action_at TEXT,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    FOREIGN KEY (tenant_id, location_id) REFERENCES locations (tenant_id, location_id)
) WITHOUT ROWID;
CREATE INDEX orders_due ON orders (next_action_at) WHERE next_action_at IS NOT NULL;
CREATE INDEX orders_pending ON orders (order_id) WHERE status = 'pending';
CREATE INDEX orders_by_status ON orders (tenant_id, status, order_id);

CREATE TABLE order_items (
    order_id TEXT NOT NULL REFERENCES orders (order_id),
    position INTEGER NOT NULL,
    product_id TEXT NOT NULL,
    name TEXT NOT NULL,
    quantity INTEGER NOT NULL CHECK (quantity BETWEEN 1 AND 99),
    unit_price_minor INTEGER NOT NULL CHECK (unit_price_minor >= 0),
    PRIMARY KEY (order_id, position)
) WITHOUT ROWID;

CREATE TABLE order_history (
    order_id TEXT NOT NULL REFERENCES orders (order_id),
    seq INTEGER NOT NULL,
    from_status TEXT,
    to_status TEXT NOT NULL,
    step TEXT NOT NULL,
    actor TEXT NOT NULL,
    note TEXT,
    at TEXT NOT NULL,
    PRIMARY KEY (order_id, seq)
) WITHOUT ROWID;

CREATE TABLE payments (
    order_id TEXT NOT NULL REFERENCES orders (order_id),
    kind TEXT NOT NULL CHECK (kind IN ('charge', 'refund')),
    amount_minor INTEGER NOT NULL,
    currency TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('requested', 'unknown', 'captured', 'declined', 'refunded')),
    token TEXT,
    charge_id TEXT,
    reason TEXT,
    at TEXT NOT NULL,
    PRIMARY KEY (order_id, kind)
) WITHOUT ROWID;
