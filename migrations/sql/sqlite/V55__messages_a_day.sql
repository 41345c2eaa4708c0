-- How many messages a recipient got on a day (UTC): counted as they are claimed, so that nobody can have our servers send
-- a stranger more than a few dozen. Rows of past days are deleted with the outbox.
CREATE TABLE notice_counts (
    recipient TEXT NOT NULL,
    day TEXT NOT NULL,
    messages INTEGER NOT NULL,
    PRIMARY KEY (recipient, day)
) WITHOUT ROWID;
CREATE INDEX notice_counts_by_day ON notice_counts (day);
