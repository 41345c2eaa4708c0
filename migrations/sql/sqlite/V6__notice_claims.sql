-- Whoever sends a notice has it alone until then.
ALTER TABLE notifications ADD COLUMN claimed_until TEXT;
