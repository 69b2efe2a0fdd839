-- +goose Up

ALTER TABLE dispute ADD COLUMN fee_back bigint NOT NULL DEFAULT 0, ADD CONSTRAINT dispute_fee_back CHECK (fee_back >= 0);
COMMENT ON COLUMN dispute.fee_back IS 'What the provider gave back of the fee.';
