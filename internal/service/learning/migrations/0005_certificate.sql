-- +goose Up

CREATE TABLE certificate_settings (
	course_id text COLLATE "C" NOT NULL,
	enabled boolean NOT NULL DEFAULT true,
	title text NOT NULL DEFAULT '',
	signatory_name text NOT NULL DEFAULT '',
	signatory_role text NOT NULL DEFAULT '',
	revision bigint NOT NULL DEFAULT 1,
	CONSTRAINT certificate_settings_pkey PRIMARY KEY (course_id)
);
COMMENT ON TABLE certificate_settings IS 'How certificates of a course look; a course without a row has them as they are by default. Personal data: the name of who stands for them, as course staff wrote it.';

CREATE TABLE certificate (
	id text COLLATE "C" NOT NULL,
	course_id text COLLATE "C" NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	completed_at timestamptz NOT NULL,
	issued_at timestamptz NOT NULL,
	revision int NOT NULL,
	shared boolean NOT NULL DEFAULT true,
	CONSTRAINT certificate_pkey PRIMARY KEY (id),
	CONSTRAINT certificate_person_course UNIQUE (course_id, account_id)
);
COMMENT ON TABLE certificate IS 'Who has a certificate of which course: one for each person and course. Personal data of the account. Kept as long as the account.';
COMMENT ON COLUMN certificate.issued_at IS 'When it was issued for the first time.';
COMMENT ON COLUMN certificate.revision IS 'Of the row of certificate_revision that counts.';
COMMENT ON COLUMN certificate.shared IS 'Whether anybody who has the serial may verify it.';
CREATE INDEX certificate_of_course ON certificate (course_id, issued_at DESC, id DESC);
CREATE INDEX certificate_of_account ON certificate (account_id, issued_at DESC, id DESC);

CREATE TABLE certificate_revision (
	certificate_id text COLLATE "C" NOT NULL,
	revision int NOT NULL,
	serial text COLLATE "C" NOT NULL,
	status_index bigint GENERATED ALWAYS AS IDENTITY,
	person_name text NOT NULL,
	course_title text NOT NULL,
	language text NOT NULL,
	title text NOT NULL,
	signatory_name text NOT NULL,
	signatory_role text NOT NULL,
	issuer_name text NOT NULL,
	issued_at timestamptz NOT NULL,
	issued_by text COLLATE "C" NOT NULL,
	reason text NOT NULL,
	state text NOT NULL DEFAULT 'valid',
	ended_at timestamptz,
	end_reason text NOT NULL DEFAULT '',
	CONSTRAINT certificate_revision_pkey PRIMARY KEY (certificate_id, revision),
	CONSTRAINT certificate_revision_certificate FOREIGN KEY (certificate_id) REFERENCES certificate,
	CONSTRAINT certificate_revision_serial UNIQUE (serial),
	CONSTRAINT certificate_revision_status_index UNIQUE (status_index),
	CONSTRAINT certificate_revision_state CHECK (state IN ('valid', 'revoked', 'superseded')),
	CONSTRAINT certificate_revision_ended CHECK ((state = 'valid') = (ended_at IS NULL))
);
COMMENT ON TABLE certificate_revision IS 'Certificates as they were issued; never changed but to end them, and to add a name that was not known. Personal data of the account: the name on it, and why it was revoked or issued anew, in the words of course staff. Kept as long as the account.';
COMMENT ON COLUMN certificate_revision.serial IS 'What anybody verifies it by: 80 random bits.';
COMMENT ON COLUMN certificate_revision.status_index IS 'Of its bit in the lists of what is revoked, which hold 131,072 each.';
CREATE INDEX certificate_revision_ended ON certificate_revision (status_index) WHERE state <> 'valid';

CREATE TABLE badge_key (
	id text COLLATE "C" NOT NULL,
	algorithm text NOT NULL,
	public_key bytea NOT NULL,
	private_key bytea NOT NULL,
	created_at timestamptz NOT NULL,
	CONSTRAINT badge_key_pkey PRIMARY KEY (id),
	CONSTRAINT badge_key_algorithm CHECK (algorithm IN ('Ed25519', 'RS256'))
);
COMMENT ON TABLE badge_key IS 'Keys that badges are signed with. The newest of each algorithm signs; the public parts of all are published for ever. No personal data.';
COMMENT ON COLUMN badge_key.private_key IS 'PKCS #8, sealed with a data key that has the name of this table in person_key.';
