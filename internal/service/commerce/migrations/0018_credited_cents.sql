-- +goose Up

-- Of a cent that is given back the tax may be one less than none, so that in all of them it is
-- what it was on the invoice. A looser rule holds of every row that is there.
ALTER TABLE invoice
	DROP CONSTRAINT invoice_tax,
	ADD CONSTRAINT invoice_tax CHECK (kind = 'credit_note' OR tax BETWEEN 0 AND total);
