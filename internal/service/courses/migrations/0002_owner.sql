-- +goose Up

ALTER TABLE course ADD COLUMN owner_version bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN course.owner_version IS 'The version of the last change of owner that access has told.';
