-- +goose Up
-- May be null: processes of the version before write none, and leave those of a mark before.
ALTER TABLE quiz_mark ADD COLUMN others jsonb;
COMMENT ON COLUMN quiz_mark.others IS 'The attempts that could count in place of the one that is told, as list, and the version of the mark that told them; null for none.';

ALTER TABLE assignment_mark ADD COLUMN others jsonb;
COMMENT ON COLUMN assignment_mark.others IS 'As quiz_mark.others.';
