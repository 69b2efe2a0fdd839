-- +goose Up

CREATE TABLE account (
	id text COLLATE "C" PRIMARY KEY,
	email text COLLATE "C" NOT NULL,
	name text NOT NULL,
	bio text NOT NULL DEFAULT '',
	locale text NOT NULL,
	time_zone text NOT NULL,
	password_hash text NOT NULL,
	revision bigint NOT NULL DEFAULT 1,
	created_at timestamptz NOT NULL,
	updated_at timestamptz NOT NULL,
	CONSTRAINT account_email UNIQUE (email)
);
COMMENT ON TABLE account IS 'A person''s account: how they sign in, and what they say of themselves. Personal data of the account''s holder.';
COMMENT ON COLUMN account.email IS 'In lower case and NFC, so that equal addresses are equal texts.';
COMMENT ON COLUMN account.password_hash IS 'argon2id in the PHC format, with the parameters it was made with.';

CREATE TABLE session (
	id text COLLATE "C" PRIMARY KEY,
	account_id text COLLATE "C" NOT NULL REFERENCES account (id) ON DELETE CASCADE,
	token_hash bytea NOT NULL,
	user_agent text NOT NULL,
	created_at timestamptz NOT NULL,
	expires_at timestamptz NOT NULL,
	last_used_at timestamptz NOT NULL,
	ended_at timestamptz,
	CONSTRAINT session_token UNIQUE (token_hash)
);
CREATE INDEX session_account ON session (account_id, created_at DESC, id DESC);
CREATE INDEX session_expires ON session (expires_at);
CREATE INDEX session_ended ON session (ended_at) WHERE ended_at IS NOT NULL;
COMMENT ON TABLE session IS 'A sign-in, and for some days after its end that there was one. Personal data of the account''s holder.';
COMMENT ON COLUMN session.token_hash IS 'SHA-256 of the token, which is kept nowhere.';
