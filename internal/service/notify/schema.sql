-- What the migrations make of the schema "notify". Generated; do not edit:
-- bin/testservers -only postgres -- go test ./internal/app -run TestSchemaDumps -update

CREATE TABLE course (
	course_id text COLLATE "C" NOT NULL,
	sequence bigint NOT NULL,
	title text NOT NULL,
	owner_id text COLLATE "C" NOT NULL,
	CONSTRAINT course_pkey PRIMARY KEY (course_id)
);
COMMENT ON TABLE course IS 'What courses are called and whose they are, as the service courses told it. Personal data: whose course it is, which is public.';

CREATE TABLE mail (
	id text COLLATE "C" NOT NULL,
	to_address text NOT NULL,
	subject text NOT NULL,
	body_text text NOT NULL,
	created_at timestamp with time zone NOT NULL,
	state text NOT NULL,
	dedupe_key text COLLATE "C" NOT NULL,
	CONSTRAINT mail_pkey PRIMARY KEY (id),
	CONSTRAINT mail_dedupe UNIQUE (dedupe_key),
	CONSTRAINT mail_header CHECK (((to_address !~ '[[:cntrl:]]'::text) AND (subject !~ '[[:cntrl:]]'::text))),
	CONSTRAINT mail_state CHECK ((state = 'held'::text))
);
CREATE INDEX mail_newest ON mail USING btree (created_at DESC, id DESC);
COMMENT ON TABLE mail IS 'Mails as they would be sent, held for whoever develops. Personal data of whom they are to: their address, name and purchases. Kept for 30 days.';
COMMENT ON COLUMN mail.dedupe_key IS 'See notification.dedupe_key.';

CREATE TABLE notification (
	id text COLLATE "C" NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	kind text NOT NULL,
	title text NOT NULL,
	body text NOT NULL,
	course_id text COLLATE "C" NOT NULL DEFAULT ''::text,
	created_at timestamp with time zone NOT NULL,
	read_at timestamp with time zone,
	dedupe_key text COLLATE "C" NOT NULL,
	CONSTRAINT notification_pkey PRIMARY KEY (id),
	CONSTRAINT notification_dedupe UNIQUE (dedupe_key)
);
CREATE INDEX notification_age ON notification USING btree (created_at);
CREATE INDEX notification_newest ON notification USING btree (account_id, created_at DESC, id DESC);
CREATE INDEX notification_unread ON notification USING btree (account_id, created_at DESC, id DESC) WHERE (read_at IS NULL);
COMMENT ON TABLE notification IS 'What people were told. Personal data of the account: what they do; and of the student whom a teacher is told of: their name. Kept for a year.';
COMMENT ON COLUMN notification.dedupe_key IS 'Names the kind, what it is about and the account, so that an event that comes twice tells once.';

CREATE TABLE person (
	account_id text COLLATE "C" NOT NULL,
	email text NOT NULL,
	name text NOT NULL,
	locale text NOT NULL,
	version bigint NOT NULL,
	CONSTRAINT person_pkey PRIMARY KEY (account_id)
);
COMMENT ON TABLE person IS 'Whom to tell, where and in which language, as the service identity told it. Personal data of the account. Kept as long as the account.';
