-- One row a destination: what one of them refuses is tried again by itself, and later each time.
-- A route of NULL is every route of its kind, as programs older than this column write.
ALTER TABLE outbox ADD COLUMN route TEXT;
ALTER TABLE outbox ADD COLUMN attempts INTEGER NOT NULL DEFAULT 0;
-- A row that was never tried comes before those that failed.
ALTER TABLE outbox ADD COLUMN retry_at TEXT NOT NULL DEFAULT '1970-01-01T00:00:00.000000Z';
-- What may leave, and what stands before it.
CREATE INDEX outbox_due ON outbox (retry_at, id) WHERE published_at IS NULL;
CREATE INDEX outbox_of_order ON outbox (order_id, id) WHERE published_at IS NULL;
-- What is old enough to be deleted.
CREATE INDEX outbox_published ON outbox (published_at) WHERE published_at IS NOT NULL;
CREATE INDEX inbox_at ON inbox (at);
