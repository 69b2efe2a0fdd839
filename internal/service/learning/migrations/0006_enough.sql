-- +goose Up

ALTER TABLE course_version ADD COLUMN enough int CONSTRAINT course_version_enough CHECK (enough > 0);
COMMENT ON COLUMN course_version.enough IS 'How many of the items that count complete the course; null where all of them have to be.';
