-- +goose Up

ALTER TABLE account ADD COLUMN IF NOT EXISTS email_verified_at timestamptz;
COMMENT ON COLUMN account.password_hash IS 'argon2id in the PHC format, with the parameters it was made with; empty for an account without a password.';

ALTER TABLE session ADD COLUMN tries integer NOT NULL DEFAULT 0;
ALTER TABLE session ADD COLUMN tries_since timestamptz NOT NULL DEFAULT 'epoch';
COMMENT ON COLUMN session.tries IS 'How often somebody tried to confirm who they are in this session, since tries_since.';

CREATE TABLE factor (
	id text COLLATE "C" PRIMARY KEY,
	account_id text COLLATE "C" NOT NULL REFERENCES account (id) ON DELETE CASCADE,
	kind text NOT NULL CHECK (kind IN ('totp', 'passkey')),
	name text NOT NULL,
	created_at timestamptz NOT NULL,
	confirmed_at timestamptz,
	last_used_at timestamptz,
	secret bytea,
	last_step bigint NOT NULL DEFAULT 0,
	wrong integer NOT NULL DEFAULT 0,
	wrong_since timestamptz NOT NULL DEFAULT 'epoch',
	credential_id bytea,
	credential bytea,
	CONSTRAINT factor_credential UNIQUE (credential_id),
	CONSTRAINT factor_content CHECK ((kind = 'totp') = (secret IS NOT NULL) AND (kind = 'passkey') = (credential IS NOT NULL AND credential_id IS NOT NULL))
);
CREATE INDEX factor_account ON factor (account_id, created_at, id);
CREATE UNIQUE INDEX factor_totp ON factor (account_id) WHERE kind = 'totp';
COMMENT ON TABLE factor IS 'By what a person shows who they are beside the password: apps that show codes, and passkeys. Personal data of the account''s holder.';
COMMENT ON COLUMN factor.secret IS 'Of an app that shows codes, encrypted with the person''s data key.';
COMMENT ON COLUMN factor.last_step IS 'The time step of the last code that was taken: no code of it or of an earlier one is taken again.';
COMMENT ON COLUMN factor.wrong IS 'Wrong codes since wrong_since.';
COMMENT ON COLUMN factor.credential IS 'The record of a passkey as the WebAuthn library keeps it: its public key and its counter, in JSON.';

CREATE TABLE recovery_code (
	account_id text COLLATE "C" NOT NULL REFERENCES account (id) ON DELETE CASCADE,
	code_hash bytea NOT NULL,
	used_at timestamptz,
	PRIMARY KEY (account_id, code_hash)
);
COMMENT ON TABLE recovery_code IS 'Codes to sign in with when all factors are lost, each once. Personal data of the account''s holder.';
COMMENT ON COLUMN recovery_code.code_hash IS 'SHA-256: a code has 100 random bits, which nobody guesses.';

CREATE TABLE challenge (
	id text COLLATE "C" PRIMARY KEY,
	token_hash bytea NOT NULL,
	account_id text COLLATE "C" NOT NULL REFERENCES account (id) ON DELETE CASCADE,
	wrong integer NOT NULL DEFAULT 0,
	expires_at timestamptz NOT NULL,
	CONSTRAINT challenge_token UNIQUE (token_hash)
);
CREATE INDEX challenge_account ON challenge (account_id);
CREATE INDEX challenge_expires ON challenge (expires_at);
COMMENT ON TABLE challenge IS 'A sign-in that waits for the second factor, for minutes. Personal data of the account''s holder.';

CREATE TABLE ceremony (
	id text COLLATE "C" PRIMARY KEY,
	purpose text NOT NULL CHECK (purpose IN ('registration', 'sign-in', 'challenge', 'confirmation')),
	bound_to text COLLATE "C" NOT NULL,
	data bytea NOT NULL,
	expires_at timestamptz NOT NULL
);
CREATE INDEX ceremony_expires ON ceremony (expires_at);
COMMENT ON TABLE ceremony IS 'A question to a passkey that waits for its answer, for minutes. Personal data of the account''s holder.';
COMMENT ON COLUMN ceremony.bound_to IS 'The session or the challenge that it was asked for; empty for a sign-in by passkey alone.';
COMMENT ON COLUMN ceremony.data IS 'What the WebAuthn library checks the answer against, as it gave it, in JSON.';

CREATE TABLE federated (
	id text COLLATE "C" PRIMARY KEY,
	account_id text COLLATE "C" NOT NULL REFERENCES account (id) ON DELETE CASCADE,
	provider text NOT NULL,
	issuer text COLLATE "C" NOT NULL,
	subject text COLLATE "C" NOT NULL,
	created_at timestamptz NOT NULL,
	last_used_at timestamptz NOT NULL,
	CONSTRAINT federated_subject UNIQUE (issuer, subject)
);
CREATE INDEX federated_account ON federated (account_id, created_at, id);
COMMENT ON TABLE federated IS 'Who a person is at a provider that they sign in with. Personal data of the account''s holder.';
COMMENT ON COLUMN federated.issuer IS 'Whose subject it is; a provider''s name may be given to another.';

CREATE TABLE sign_in_flow (
	state_hash bytea PRIMARY KEY,
	browser_hash bytea NOT NULL,
	provider text NOT NULL,
	sealed bytea NOT NULL,
	return_to text NOT NULL,
	account_id text COLLATE "C" REFERENCES account (id) ON DELETE CASCADE,
	session_id text COLLATE "C" REFERENCES session (id) ON DELETE CASCADE,
	expires_at timestamptz NOT NULL
);
CREATE INDEX sign_in_flow_account ON sign_in_flow (account_id);
CREATE INDEX sign_in_flow_session ON sign_in_flow (session_id);
CREATE INDEX sign_in_flow_expires ON sign_in_flow (expires_at);
COMMENT ON TABLE sign_in_flow IS 'A sign-in that a person is at a provider for, for minutes. Personal data of the account''s holder where it links an identity.';
COMMENT ON COLUMN sign_in_flow.sealed IS 'The nonce and the PKCE verifier, encrypted with the installation''s key.';
COMMENT ON COLUMN sign_in_flow.account_id IS 'The account to link to; nobody''s where it signs in.';
