-- +goose Up
-- May be null: processes of the version before write none.
ALTER TABLE cell ADD COLUMN anonymous boolean;
COMMENT ON COLUMN cell.anonymous IS 'Whether those who mark may not know whose the mark is before it is posted; null for no.';
