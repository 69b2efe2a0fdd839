-- +goose Up

ALTER TABLE quiz_preparation ADD COLUMN own boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN quiz_preparation.own IS 'Whether it opens soon for some alone, who have a window of their own: learning is asked for whom. Else all those enrolled are looked at.';
