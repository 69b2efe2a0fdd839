-- +goose Up
-- May be null: processes of the version before write none, and leave those of a mark before.
ALTER TABLE cell ADD COLUMN others jsonb;
COMMENT ON COLUMN cell.others IS 'The attempts that could count in place of the mark once lateness has cost what it does, as list, and the version of the mark that told them; null for none.';
