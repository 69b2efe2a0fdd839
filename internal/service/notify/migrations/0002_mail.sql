-- +goose Up

-- Mails are sent, and what is personal is sealed with the key of the person
-- (person_key). What a process of before has written, and still writes while it
-- runs beside, is read as it is until Service.Run seals it. The columns that
-- hold it plain (person.email, mail.to_address, subject and body_text) go in a
-- later version, when no process writes them.

ALTER TABLE person
	ALTER COLUMN email SET DEFAULT '',
	ADD COLUMN email_sealed bytea;
COMMENT ON COLUMN person.email IS 'The address as processes of before wrote it; empty when email_sealed has it. When both are there this one is newer.';
CREATE INDEX person_plain ON person (account_id) WHERE email <> '';

ALTER TABLE mail
	ALTER COLUMN to_address SET DEFAULT '',
	ALTER COLUMN subject SET DEFAULT '',
	ALTER COLUMN body_text SET DEFAULT '',
	ADD COLUMN account_id text COLLATE "C" NOT NULL DEFAULT '',
	ADD COLUMN kind text NOT NULL DEFAULT '',
	ADD COLUMN letter bytea,
	ADD COLUMN attempts int NOT NULL DEFAULT 0,
	ADD COLUMN next_at timestamptz,
	ADD COLUMN reply text NOT NULL DEFAULT '',
	ADD COLUMN ended_at timestamptz,
	DROP CONSTRAINT mail_state,
	ADD CONSTRAINT mail_state CHECK (state IN ('held', 'queued', 'sent', 'failed')),
	ADD CONSTRAINT mail_queued CHECK ((state = 'queued') = (next_at IS NOT NULL));
COMMENT ON TABLE mail IS 'Mails: held where none are sent, else the queue of those to send and what became of them. Personal data of whom they are to: their address, name, purchases and links, sealed and deleted once the mail is sent. Kept for 30 days.';
COMMENT ON COLUMN mail.letter IS 'Address, name, subject and texts, sealed with the key of the person.';
COMMENT ON COLUMN mail.next_at IS 'When it is tried next. Who sends it puts it off first, so that nobody sends beside.';
COMMENT ON COLUMN mail.reply IS 'What the mail server said last, without the address.';
CREATE INDEX mail_queue ON mail (next_at) WHERE state = 'queued';
CREATE INDEX mail_plain ON mail (id) WHERE to_address <> '';
