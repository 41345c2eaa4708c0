-- By which channels a customer wants to hear of an order. Before there was a choice, everybody got e-mails.
ALTER TABLE orders ADD COLUMN notify_email INTEGER NOT NULL DEFAULT 1;
ALTER TABLE orders ADD COLUMN notify_sms INTEGER NOT NULL DEFAULT 0;
