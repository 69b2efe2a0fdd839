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
	email_sealed bytea,
	email_index bytea,
	avatar_id text COLLATE "C" NOT NULL DEFAULT ''::text,
	avatar_version bigint NOT NULL DEFAULT 0,
	CONSTRAINT account_pkey PRIMARY KEY (id),
	CONSTRAINT account_email UNIQUE (email),
	CONSTRAINT account_email_index UNIQUE (email_index),
	CONSTRAINT account_kind CHECK ((kind = ANY (ARRAY['person'::text, 'service'::text]))),
	CONSTRAINT account_person_has_email CHECK (((kind <> 'person'::text) OR (email IS NOT NULL) OR (email_sealed IS NOT NULL)))
);
CREATE INDEX account_plain ON account USING btree (id) WHERE (email IS NOT NULL);
CREATE INDEX account_service ON account USING btree (created_at DESC, id DESC) WHERE (kind = 'service'::text);
COMMENT ON TABLE account IS 'A person''s account: how they sign in, and what they say of themselves. Personal data of the account''s holder.';
COMMENT ON COLUMN account.email IS 'The address as processes of before wrote it, in lower case and NFC; NULL when email_sealed has it.';
COMMENT ON COLUMN account.password_hash IS 'argon2id in the PHC format, with the parameters it was made with; empty for an account without a password.';
COMMENT ON COLUMN account.email_verified_at IS 'When a link that was sent to the address came back; NULL for an address that was never shown to be theirs.';
COMMENT ON COLUMN account.suspended_reason IS 'In the words of who suspended the account.';
COMMENT ON COLUMN account.email_sealed IS 'The address in lower case and NFC, sealed with the key of the person: unreadable once that is erased.';
COMMENT ON COLUMN account.email_index IS 'A keyed hash of the address, by which the account is found and the address is one account''s alone. Finds nothing once the key of the person is erased; who erases it sets this to NULL, so that the address is free.';
COMMENT ON COLUMN account.avatar_id IS 'The picture as last heard of media, which keeps it; empty when there is none.';
COMMENT ON COLUMN account.avatar_version IS 'The version of the event that said so.';

CREATE TABLE ceremony (
	id text COLLATE "C" NOT NULL,
	purpose text NOT NULL,
	bound_to text COLLATE "C" NOT NULL,
	data bytea NOT NULL,
	expires_at timestamp with time zone NOT NULL,
	CONSTRAINT ceremony_pkey PRIMARY KEY (id),
	CONSTRAINT ceremony_purpose_check CHECK ((purpose = ANY (ARRAY['registration'::text, 'sign-in'::text, 'challenge'::text, 'confirmation'::text])))
);
CREATE INDEX ceremony_expires ON ceremony USING btree (expires_at);
COMMENT ON TABLE ceremony IS 'A question to a passkey that waits for its answer, for minutes. Personal data of the account''s holder.';
COMMENT ON COLUMN ceremony.bound_to IS 'The session or the challenge that it was asked for; empty for a sign-in by passkey alone.';
COMMENT ON COLUMN ceremony.data IS 'What the WebAuthn library checks the answer against, as it gave it, in JSON.';

CREATE TABLE challenge (
	id text COLLATE "C" NOT NULL,
	token_hash bytea NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	wrong integer NOT NULL DEFAULT 0,
	expires_at timestamp with time zone NOT NULL,
	CONSTRAINT challenge_pkey PRIMARY KEY (id),
	CONSTRAINT challenge_token UNIQUE (token_hash),
	CONSTRAINT challenge_account_id_fkey FOREIGN KEY (account_id) REFERENCES account(id) ON DELETE CASCADE
);
CREATE INDEX challenge_account ON challenge USING btree (account_id);
CREATE INDEX challenge_expires ON challenge USING btree (expires_at);
COMMENT ON TABLE challenge IS 'A sign-in that waits for the second factor, for minutes. Personal data of the account''s holder.';

CREATE TABLE factor (
	id text COLLATE "C" NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	kind text NOT NULL,
	name text NOT NULL,
	created_at timestamp with time zone NOT NULL,
	confirmed_at timestamp with time zone,
	last_used_at timestamp with time zone,
	secret bytea,
	last_step bigint NOT NULL DEFAULT 0,
	wrong integer NOT NULL DEFAULT 0,
	wrong_since timestamp with time zone NOT NULL DEFAULT '1970-01-01 00:00:00+00'::timestamp with time zone,
	credential_id bytea,
	credential bytea,
	CONSTRAINT factor_pkey PRIMARY KEY (id),
	CONSTRAINT factor_credential UNIQUE (credential_id),
	CONSTRAINT factor_account_id_fkey FOREIGN KEY (account_id) REFERENCES account(id) ON DELETE CASCADE,
	CONSTRAINT factor_content CHECK ((((kind = 'totp'::text) = (secret IS NOT NULL)) AND ((kind = 'passkey'::text) = ((credential IS NOT NULL) AND (credential_id IS NOT NULL))))),
	CONSTRAINT factor_kind_check CHECK ((kind = ANY (ARRAY['totp'::text, 'passkey'::text])))
);
CREATE INDEX factor_account ON factor USING btree (account_id, created_at, id);
CREATE UNIQUE INDEX factor_totp ON factor USING btree (account_id) WHERE (kind = 'totp'::text);
COMMENT ON TABLE factor IS 'By what a person shows who they are beside the password: apps that show codes, and passkeys. Personal data of the account''s holder.';
COMMENT ON COLUMN factor.secret IS 'Of an app that shows codes, encrypted with the person''s data key.';
COMMENT ON COLUMN factor.last_step IS 'The time step of the last code that was taken: no code of it or of an earlier one is taken again.';
COMMENT ON COLUMN factor.wrong IS 'Wrong codes since wrong_since.';
COMMENT ON COLUMN factor.credential IS 'The record of a passkey as the WebAuthn library keeps it: its public key and its counter, in JSON.';

CREATE TABLE federated (
	id text COLLATE "C" NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	provider text NOT NULL,
	issuer text COLLATE "C" NOT NULL,
	subject text COLLATE "C" NOT NULL,
	created_at timestamp with time zone NOT NULL,
	last_used_at timestamp with time zone NOT NULL,
	CONSTRAINT federated_pkey PRIMARY KEY (id),
	CONSTRAINT federated_subject UNIQUE (issuer, subject),
	CONSTRAINT federated_account_id_fkey FOREIGN KEY (account_id) REFERENCES account(id) ON DELETE CASCADE
);
CREATE INDEX federated_account ON federated USING btree (account_id, created_at, id);
COMMENT ON TABLE federated IS 'Who a person is at a provider that they sign in with. Personal data of the account''s holder.';
COMMENT ON COLUMN federated.issuer IS 'Whose subject it is; a provider''s name may be given to another.';

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
	email text COLLATE "C" NOT NULL DEFAULT ''::text,
	created_at timestamp with time zone NOT NULL,
	expires_at timestamp with time zone NOT NULL,
	used_at timestamp with time zone,
	email_sealed bytea,
	CONSTRAINT one_time_token_pkey PRIMARY KEY (account_id, purpose),
	CONSTRAINT one_time_token_hash UNIQUE (token_hash),
	CONSTRAINT one_time_token_account_id_fkey FOREIGN KEY (account_id) REFERENCES account(id) ON DELETE CASCADE,
	CONSTRAINT one_time_token_purpose CHECK ((purpose = ANY (ARRAY['verify_email'::text, 'reset_password'::text, 'change_email'::text])))
);
CREATE INDEX one_time_token_expires ON one_time_token USING btree (expires_at);
CREATE INDEX one_time_token_plain ON one_time_token USING btree (account_id, purpose) WHERE (email <> ''::text);
COMMENT ON TABLE one_time_token IS 'The newest link of each purpose that was sent to somebody, until a week after its end. Personal data of the account''s holder.';
COMMENT ON COLUMN one_time_token.token_hash IS 'SHA-256 of the token, which is kept nowhere.';
COMMENT ON COLUMN one_time_token.email IS 'The address as processes of before wrote it; empty when email_sealed has it.';
COMMENT ON COLUMN one_time_token.email_sealed IS 'The address that the link was sent to, and that it is good for, sealed with the key of the person.';

CREATE TABLE recovery_code (
	account_id text COLLATE "C" NOT NULL,
	code_hash bytea NOT NULL,
	used_at timestamp with time zone,
	CONSTRAINT recovery_code_pkey PRIMARY KEY (account_id, code_hash),
	CONSTRAINT recovery_code_account_id_fkey FOREIGN KEY (account_id) REFERENCES account(id) ON DELETE CASCADE
);
COMMENT ON TABLE recovery_code IS 'Codes to sign in with when all factors are lost, each once. Personal data of the account''s holder.';
COMMENT ON COLUMN recovery_code.code_hash IS 'SHA-256: a code has 100 random bits, which nobody guesses.';

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
	tries integer NOT NULL DEFAULT 0,
	tries_since timestamp with time zone NOT NULL DEFAULT '1970-01-01 00:00:00+00'::timestamp with time zone,
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
COMMENT ON COLUMN session.tries IS 'How often somebody tried to confirm who they are in this session, since tries_since.';

CREATE TABLE sign_in_flow (
	state_hash bytea NOT NULL,
	browser_hash bytea NOT NULL,
	provider text NOT NULL,
	sealed bytea NOT NULL,
	return_to text NOT NULL,
	account_id text COLLATE "C",
	session_id text COLLATE "C",
	expires_at timestamp with time zone NOT NULL,
	CONSTRAINT sign_in_flow_pkey PRIMARY KEY (state_hash),
	CONSTRAINT sign_in_flow_account_id_fkey FOREIGN KEY (account_id) REFERENCES account(id) ON DELETE CASCADE,
	CONSTRAINT sign_in_flow_session_id_fkey FOREIGN KEY (session_id) REFERENCES session(id) ON DELETE CASCADE
);
CREATE INDEX sign_in_flow_account ON sign_in_flow USING btree (account_id);
CREATE INDEX sign_in_flow_expires ON sign_in_flow USING btree (expires_at);
CREATE INDEX sign_in_flow_session ON sign_in_flow USING btree (session_id);
COMMENT ON TABLE sign_in_flow IS 'A sign-in that a person is at a provider for, for minutes. Personal data of the account''s holder where it links an identity.';
COMMENT ON COLUMN sign_in_flow.sealed IS 'The nonce and the PKCE verifier, encrypted with the installation''s key.';
COMMENT ON COLUMN sign_in_flow.account_id IS 'The account to link to; nobody''s where it signs in.';
