-- +goose Up

-- An account of a program has neither an address nor a password; '' is no
-- password, which nobody can type.
ALTER TABLE account
	ALTER COLUMN email DROP NOT NULL,
	ADD COLUMN kind text NOT NULL DEFAULT 'person',
	ADD COLUMN links text[] NOT NULL DEFAULT '{}',
	ADD COLUMN email_verified_at timestamptz,
	ADD COLUMN suspended_at timestamptz,
	ADD COLUMN suspended_reason text NOT NULL DEFAULT '',
	ADD CONSTRAINT account_kind CHECK (kind IN ('person', 'service')),
	ADD CONSTRAINT account_person_has_email CHECK (kind <> 'person' OR email IS NOT NULL);
CREATE INDEX account_service ON account (created_at DESC, id DESC) WHERE kind = 'service';
COMMENT ON COLUMN account.email_verified_at IS 'When a link that was sent to the address came back; NULL for an address that was never shown to be theirs.';
COMMENT ON COLUMN account.suspended_reason IS 'In the words of who suspended the account.';

ALTER TABLE session ADD COLUMN address text NOT NULL DEFAULT '';
COMMENT ON COLUMN session.address IS 'The network address of the last use, of IPv6 the /64. Personal data of the account''s holder.';

CREATE TABLE one_time_token (
	account_id text COLLATE "C" NOT NULL REFERENCES account (id) ON DELETE CASCADE,
	purpose text NOT NULL,
	token_hash bytea NOT NULL,
	email text COLLATE "C" NOT NULL,
	created_at timestamptz NOT NULL,
	expires_at timestamptz NOT NULL,
	used_at timestamptz,
	PRIMARY KEY (account_id, purpose),
	CONSTRAINT one_time_token_hash UNIQUE (token_hash),
	CONSTRAINT one_time_token_purpose CHECK (purpose IN ('verify_email', 'reset_password', 'change_email'))
);
CREATE INDEX one_time_token_expires ON one_time_token (expires_at);
COMMENT ON TABLE one_time_token IS 'The newest link of each purpose that was sent to somebody, until a week after its end. Personal data of the account''s holder.';
COMMENT ON COLUMN one_time_token.token_hash IS 'SHA-256 of the token, which is kept nowhere.';
COMMENT ON COLUMN one_time_token.email IS 'The address that the link was sent to, and that it is good for.';

CREATE TABLE mail_due (
	id text COLLATE "C" PRIMARY KEY,
	kind text NOT NULL,
	sealed bytea NOT NULL,
	created_at timestamptz NOT NULL
);
CREATE INDEX mail_due_oldest ON mail_due (created_at, id);
COMMENT ON TABLE mail_due IS 'Addresses that somebody named and that are still to be looked up and written to, for seconds. Personal data of the addresses'' holders, sealed.';

CREATE TABLE known_device (
	account_id text COLLATE "C" NOT NULL REFERENCES account (id) ON DELETE CASCADE,
	device_hash bytea NOT NULL,
	seen_at timestamptz NOT NULL,
	PRIMARY KEY (account_id, device_hash)
);
CREATE INDEX known_device_seen ON known_device (seen_at);
COMMENT ON TABLE known_device IS 'From what an account signed in within 90 days, to tell what is new: no more than a keyed hash of the program and the network. Personal data of the account''s holder.';

CREATE TABLE access_token (
	id text COLLATE "C" PRIMARY KEY,
	account_id text COLLATE "C" NOT NULL REFERENCES account (id) ON DELETE CASCADE,
	name text NOT NULL,
	token_hash bytea NOT NULL,
	scopes text[] NOT NULL,
	created_at timestamptz NOT NULL,
	expires_at timestamptz,
	last_used_at timestamptz,
	revoked_at timestamptz,
	CONSTRAINT access_token_hash UNIQUE (token_hash)
);
CREATE INDEX access_token_account ON access_token (account_id, created_at DESC, id DESC);
CREATE INDEX access_token_revoked ON access_token (revoked_at) WHERE revoked_at IS NOT NULL;
CREATE INDEX access_token_expires ON access_token (expires_at) WHERE expires_at IS NOT NULL;
COMMENT ON TABLE access_token IS 'Tokens with which programs act as an account, and for 30 days after their end that there were. Personal data of the account''s holder.';
COMMENT ON COLUMN access_token.token_hash IS 'SHA-256 of the token, which is kept nowhere.';
