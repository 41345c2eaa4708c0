-- Staff tokens that were issued: for whom, how long, and whether they were revoked. Never the token itself.
CREATE TABLE staff_tokens (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    role TEXT NOT NULL,
    issued_at TEXT NOT NULL,
    expires_at TEXT NOT NULL,
    revoked_at TEXT
) WITHOUT ROWID;
-- Read every few seconds by every storefront.
CREATE INDEX staff_tokens_revoked ON staff_tokens (expires_at) WHERE revoked_at IS NOT NULL;
