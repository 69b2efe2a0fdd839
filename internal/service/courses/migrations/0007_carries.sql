-- +goose Up

ALTER TABLE course_import ADD COLUMN carries boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN course_import.carries IS 'Whether quizzes and assignments may have been put into the staging course.';
