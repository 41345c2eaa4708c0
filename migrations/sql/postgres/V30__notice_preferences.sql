-- By which channels a customer wants to hear of an order. Before there was a choice, everybody got e-mails.
ALTER TABLE orders ADD COLUMN notify_email boolean NOT NULL DEFAULT true;
ALTER TABLE orders ADD COLUMN notify_sms boolean NOT NULL DEFAULT false;
