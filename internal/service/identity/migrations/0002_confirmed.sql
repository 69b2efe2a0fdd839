-- +goose Up

ALTER TABLE session ADD COLUMN confirmed_at timestamptz NOT NULL DEFAULT 'epoch';
COMMENT ON COLUMN session.confirmed_at IS 'When the account last confirmed who it is in this session, by a second factor where it has one.';
