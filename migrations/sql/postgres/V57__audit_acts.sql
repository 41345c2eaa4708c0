-- An act that is repeated under its own id, such as a delivery whose answer was lost, is in the audit log once.
ALTER TABLE audit ADD COLUMN act_id text;
CREATE UNIQUE INDEX audit_acts ON audit (act_id);
