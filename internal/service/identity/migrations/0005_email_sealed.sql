-- +goose Up

-- Addresses are sealed with the key of the person (person_key) and found by a
-- keyed hash. What a process of before has written is read and found as it is
-- until Service.Run seals it. The columns that hold it plain (account.email,
-- one_time_token.email) go in a later version, when nothing is in them.

ALTER TABLE account
	ADD COLUMN email_sealed bytea,
	ADD COLUMN email_index bytea,
	ADD CONSTRAINT account_email_index UNIQUE (email_index),
	DROP CONSTRAINT account_person_has_email,
	ADD CONSTRAINT account_person_has_email CHECK (kind <> 'person' OR email IS NOT NULL OR email_sealed IS NOT NULL);
COMMENT ON COLUMN account.email IS 'The address as processes of before wrote it, in lower case and NFC; NULL when email_sealed has it.';
COMMENT ON COLUMN account.email_sealed IS 'The address in lower case and NFC, sealed with the key of the person: unreadable once that is erased.';
COMMENT ON COLUMN account.email_index IS 'A keyed hash of the address, by which the account is found and the address is one account''s alone. Finds nothing once the key of the person is erased; who erases it sets this to NULL, so that the address is free.';
CREATE INDEX account_plain ON account (id) WHERE email IS NOT NULL;

ALTER TABLE one_time_token
	ALTER COLUMN email SET DEFAULT '',
	ADD COLUMN email_sealed bytea;
COMMENT ON COLUMN one_time_token.email IS 'The address as processes of before wrote it; empty when email_sealed has it.';
COMMENT ON COLUMN one_time_token.email_sealed IS 'The address that the link was sent to, and that it is good for, sealed with the key of the person.';
CREATE INDEX one_time_token_plain ON one_time_token (account_id, purpose) WHERE email <> '';
