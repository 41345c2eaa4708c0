-- Staff tokens that were issued: for whom, how long, and whether they were revoked. Never the token itself.
CREATE TABLE staff_tokens (
    id uuid PRIMARY KEY,
    name text NOT NULL,
    role text NOT NULL,
    issued_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz
);
-- Read every few seconds by every storefront.
CREATE INDEX staff_tokens_revoked ON staff_tokens (expires_at) WHERE revoked_at IS NOT NULL;
