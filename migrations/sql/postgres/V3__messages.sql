-- What each consumer has applied, and what is still to be sent: written in the transaction of the effect itself.
CREATE TABLE inbox (
    consumer text NOT NULL,
    event_id uuid NOT NULL,
    at timestamptz NOT NULL,
    PRIMARY KEY (consumer, event_id)
);

CREATE TABLE outbox (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind text NOT NULL,
    order_id uuid,
    envelope text NOT NULL,
    created_at timestamptz NOT NULL,
    published_at timestamptz,
    claimed_by uuid,
    claimed_until timestamptz
);
CREATE INDEX outbox_unpublished ON outbox (id) WHERE published_at IS NULL;
