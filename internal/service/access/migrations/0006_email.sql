-- +goose Up

ALTER TABLE person
	ADD COLUMN email_index bytea,
	ADD COLUMN email_verified boolean NOT NULL DEFAULT false;
CREATE INDEX person_email ON person (email_index) WHERE email_index IS NOT NULL;
COMMENT ON COLUMN person.email_index IS 'A keyed hash of the address, by which who has it is found. Two may have one for a moment, while an address goes from one account to another.';
COMMENT ON COLUMN person.email_verified IS 'Whether the address was shown to be its holder''s.';
