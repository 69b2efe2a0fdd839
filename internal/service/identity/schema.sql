-- What the migrations make of the schema "identity". Generated; do not edit:
-- bin/testservers -only postgres -- go test ./internal/app -run TestSchemaDumps -update

CREATE TABLE access_token (
	id text COLLATE "C" NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	name text NOT NULL,
	token_hash bytea NOT NULL,
	scopes text[] NOT NULL,
	created_at timestamp with time zone NOT NULL,
	expires_at timestamp with time zone,
	last_used_at timestamp with time zone,
	revoked_at timestamp with time zone,
	CONSTRAINT access_token_pkey PRIMARY KEY (id),
	CONSTRAINT access_token_hash UNIQUE (token_hash),
	CONSTRAINT access_token_account_id_fkey FOREIGN KEY (account_id) REFERENCES account(id) ON DELETE CASCADE
);
CREATE INDEX access_token_account ON access_token USING btree (account_id, created_at DESC, id DESC);
CREATE INDEX access_token_expires ON access_token USING btree (expires_at) WHERE (expires_at IS NOT NULL);
CREATE INDEX access_token_revoked ON access_token USING btree (revoked_at) WHERE (revoked_at IS NOT NULL);
COMMENT ON TABLE access_token IS 'Tokens with which programs act as an account, and for 30 days after their end that there were. Personal data of the account''s holder.';
COMMENT ON COLUMN access_token.token_hash IS 'SHA-256 of the token, which is kept nowhere.';

CREATE TABLE account (
	id text COLLATE "C" NOT NULL,
	email text COLLATE "C",
	name text NOT NULL,
	bio text NOT NULL DEFAULT ''::text,
	locale text NOT NULL,
	time_zone text NOT NULL,
	password_hash text NOT NULL,
	revision bigint NOT NULL DEFAULT 1,
	created_at timestamp with time zone NOT NULL,
	updated_at timestamp with time zone NOT NULL,
	kind text NOT NULL DEFAULT 'person'::text,
	links text[] NOT NULL DEFAULT '{}'::text[],
	email_verified_at timestamp with time zone,
	suspended_at timestamp with time zone,
	suspended_reason text NOT NULL DEFAULT ''::text,
	CONSTRAINT account_pkey PRIMARY KEY (id),
	CONSTRAINT account_email UNIQUE (email),
	CONSTRAINT account_kind CHECK ((kind = ANY (ARRAY['person'::text, 'service'::text]))),
	CONSTRAINT account_person_has_email CHECK (((kind <> 'person'::text) OR (email IS NOT NULL)))
);
CREATE INDEX account_service ON account USING btree (created_at DESC, id DESC) WHERE (kind = 'service'::text);
COMMENT ON TABLE account IS 'A person''s account: how they sign in, and what they say of themselves. Personal data of the account''s holder.';
COMMENT ON COLUMN account.email IS 'In lower case and NFC, so that equal addresses are equal texts.';
COMMENT ON COLUMN account.password_hash IS 'argon2id in the PHC format, with the parameters it was made with.';
COMMENT ON COLUMN account.email_verified_at IS 'When a link that was sent to the address came back; NULL for an address that was never shown to be theirs.';
COMMENT ON COLUMN account.suspended_reason IS 'In the words of who suspended the account.';

CREATE TABLE known_device (
	account_id text COLLATE "C" NOT NULL,
	device_hash bytea NOT NULL,
	seen_at timestamp with time zone NOT NULL,
	CONSTRAINT known_device_pkey PRIMARY KEY (account_id, device_hash),
	CONSTRAINT known_device_account_id_fkey FOREIGN KEY (account_id) REFERENCES account(id) ON DELETE CASCADE
);
CREATE INDEX known_device_seen ON known_device USING btree (seen_at);
COMMENT ON TABLE known_device IS 'From what an account signed in within 90 days, to tell what is new: no more than a keyed hash of the program and the network. Personal data of the account''s holder.';

CREATE TABLE mail_due (
	id text COLLATE "C" NOT NULL,
	kind text NOT NULL,
	sealed bytea NOT NULL,
	created_at timestamp with time zone NOT NULL,
	CONSTRAINT mail_due_pkey PRIMARY KEY (id)
);
CREATE INDEX mail_due_oldest ON mail_due USING btree (created_at, id);
COMMENT ON TABLE mail_due IS 'Addresses that somebody named and that are still to be looked up and written to, for seconds. Personal data of the addresses'' holders, sealed.';

CREATE TABLE one_time_token (
	account_id text COLLATE "C" NOT NULL,
	purpose text NOT NULL,
	token_hash bytea NOT NULL,
	email text COLLATE "C" NOT NULL,
	created_at timestamp with time zone NOT NULL,
	expires_at timestamp with time zone NOT NULL,
	used_at timestamp with time zone,
	CONSTRAINT one_time_token_pkey PRIMARY KEY (account_id, purpose),
	CONSTRAINT one_time_token_hash UNIQUE (token_hash),
	CONSTRAINT one_time_token_account_id_fkey FOREIGN KEY (account_id) REFERENCES account(id) ON DELETE CASCADE,
	CONSTRAINT one_time_token_purpose CHECK ((purpose = ANY (ARRAY['verify_email'::text, 'reset_password'::text, 'change_email'::text])))
);
CREATE INDEX one_time_token_expires ON one_time_token USING btree (expires_at);
COMMENT ON TABLE one_time_token IS 'The newest link of each purpose that was sent to somebody, until a week after its end. Personal data of the account''s holder.';
COMMENT ON COLUMN one_time_token.token_hash IS 'SHA-256 of the token, which is kept nowhere.';
COMMENT ON COLUMN one_time_token.email IS 'The address that the link was sent to, and that it is good for.';

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
	address text NOT NULL DEFAULT ''::text,
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
COMMENT ON COLUMN session.address IS 'The network address of the last use, of IPv6 the /64. Personal data of the account''s holder.';
