-- Orders, what is in them, what happened to them, and their money.
CREATE TABLE orders (
    order_id uuid PRIMARY KEY,
    tenant_id text NOT NULL,
    location_id text NOT NULL,
    order_number text NOT NULL,
    order_type text NOT NULL CHECK (order_type IN ('pickup', 'dine_in', 'delivery')),
    customer_name text NOT NULL,
    customer_phone text NOT NULL,
    customer_email text NOT NULL,
    special_instructions text NOT NULL,
    pickup_at timestamptz,
    subtotal_minor bigint NOT NULL CHECK (subtotal_minor >= 0),
    tax_minor bigint NOT NULL CHECK (tax_minor >= 0),
    total_minor bigint NOT NULL CHECK (total_minor = subtotal_minor + tax_minor),
    currency text NOT NULL,
    state text NOT NULL,
    status text NOT NULL CHECK (status IN ('pending', 'confirmed', 'preparing', 'ready', 'completed', 'cancelled', 'failed')),
    step text NOT NULL,
    version bigint NOT NULL,
    reason text,
    session_hash text,
    tracking_token text NOT NULL,
    idempotency_key_hash text NOT NULL UNIQUE,
    request_hash text NOT NULL,
    next_action_at timestamptz,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    FOREIGN KEY (tenant_id, location_id) REFERENCES locations (tenant_id, location_id)
);
CREATE INDEX orders_due ON orders (next_action_at) WHERE next_action_at IS NOT NULL;
CREATE INDEX orders_pending ON orders (order_id) WHERE status = 'pending';
CREATE INDEX orders_by_status ON orders (tenant_id, status, order_id);

CREATE TABLE order_items (
    order_id uuid NOT NULL REFERENCES orders (order_id),
    position integer NOT NULL,
    product_id text NOT NULL,
    name text NOT NULL,
    quantity integer NOT NULL CHECK (quantity BETWEEN 1 AND 99),
    unit_price_minor bigint NOT NULL CHECK (unit_price_minor >= 0),
    PRIMARY KEY (order_id, position)
);

CREATE TABLE order_history (
    order_id uuid NOT NULL REFERENCES orders (order_id),
    seq bigint NOT NULL,
    from_status text,
    to_status text NOT NULL,
    step text NOT NULL,
    actor text NOT NULL,
    note text,
    at timestamptz NOT NULL,
    PRIMARY KEY (order_id, seq)
);

CREATE TABLE payments (
    order_id uuid NOT NULL REFERENCES orders (order_id),
    kind text NOT NULL CHECK (kind IN ('charge', 'refund')),
    amount_minor bigint NOT NULL,
    currency text NOT NULL,
    state text NOT NULL CHECK (state IN ('requested', 'unknown', 'captured', 'declined', 'refunded')),
    token text,
    charge_id text,
    reason text,
    at timestamptz NOT NULL,
    PRIMARY KEY (order_id, kind)
);
