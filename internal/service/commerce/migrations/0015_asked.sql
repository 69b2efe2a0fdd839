-- +goose Up

ALTER TABLE provider_transaction ADD COLUMN asked_at timestamptz;
COMMENT ON COLUMN provider_transaction.asked_at IS 'When the provider was last asked whose it is; NULL for never.';
