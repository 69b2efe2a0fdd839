-- +goose Up

ALTER TABLE media ADD COLUMN held boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN media.held IS 'Whether something that never changes shows it, such as a version of a question. What is held is not purged, deleted or not.';
