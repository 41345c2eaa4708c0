-- An act that is repeated under its own id, such as a delivery whose answer was lost, is in the audit log once.
ALTER TABLE audit ADD COLUMN act_id TEXT;
CREATE UNIQUE INDEX audit_acts ON audit (act_id);
-- INSERT OR REPLACE would delete the row with the same act_id without firing the trigger against deletes.
CREATE TRIGGER audit_act_is_not_replaced BEFORE INSERT ON audit
WHEN EXISTS (SELECT 1 FROM audit WHERE act_id = NEW.act_id)
BEGIN
    SELECT RAISE(IGNORE);
END;
