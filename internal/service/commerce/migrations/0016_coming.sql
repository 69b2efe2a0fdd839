-- +goose Up

ALTER TABLE provider_transaction ADD COLUMN coming boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN provider_transaction.coming IS 'Whether the provider said, when it was last asked, that it is on its way.';
