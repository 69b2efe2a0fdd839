-- What the migrations make of the schema "identity". Generated; do not edit:
-- bin/testservers -only postgres -- go test ./internal/app -run TestSchemaDumps -update

CREATE TABLE account (
	id text COLLATE "C" NOT NULL,
	email text COLLATE "C" NOT NULL,
	name text NOT NULL,
	bio text NOT NULL DEFAULT ''::text,
	locale text NOT NULL,
	time_zone text NOT NULL,
	password_hash text NOT NULL,
	revision bigint NOT NULL DEFAULT 1,
	created_at timestamp with time zone NOT NULL,
	updated_at timestamp with time zone NOT NULL,
	CONSTRAINT account_pkey PRIMARY KEY (id),
	CONSTRAINT account_email UNIQUE (email)
);
COMMENT ON TABLE account IS 'A person''s account: how they sign in, and what they say of themselves. Personal data of the account''s holder.';
COMMENT ON COLUMN account.email IS 'In lower case and NFC, so that equal addresses are equal texts.';
COMMENT ON COLUMN account.password_hash IS 'argon2id in the PHC format, with the parameters it was made with.';

CREATE TABLE session (
	id text COLLATE "C" NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	token_hash bytea NOT NULL,
	user_agent text NOT NULL,
	created_at timestamp with time zone NOT NULL,
	expires_at timestamp with time zone NOT NULL,
	last_used_at timestamp with time zone NOT NULL,
	ended_at timestamp with time zone,
	confirmed_at timestamp with time zone NOT NULL DEFAULT '1970-01-01 00:00:00+00'::timestamp with time zone,
	CONSTRAINT session_pkey PRIMARY KEY (id),
	CONSTRAINT session_token UNIQUE (token_hash),
	CONSTRAINT session_account_id_fkey FOREIGN KEY (account_id) REFERENCES account(id) ON DELETE CASCADE
);
CREATE INDEX session_account ON session USING btree (account_id, created_at DESC, id DESC);
CREATE INDEX session_ended ON session USING btree (ended_at) WHERE (ended_at IS NOT NULL);
CREATE INDEX session_expires ON session USING btree (expires_at);
COMMENT ON TABLE session IS 'A sign-in, and for some days after its end that there was one. Personal data of the account''s holder.';
COMMENT ON COLUMN session.token_hash IS 'SHA-256 of the token, which is kept nowhere.';
COMMENT ON COLUMN session.confirmed_at IS 'When the account last confirmed who it is in this session, by a second factor where it has one.';
