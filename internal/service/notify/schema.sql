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
	to_address text NOT NULL DEFAULT ''::text,
	subject text NOT NULL DEFAULT ''::text,
	body_text text NOT NULL DEFAULT ''::text,
	created_at timestamp with time zone NOT NULL,
	state text NOT NULL,
	dedupe_key text COLLATE "C" NOT NULL,
	account_id text COLLATE "C" NOT NULL DEFAULT ''::text,
	kind text NOT NULL DEFAULT ''::text,
	letter bytea,
	attempts integer NOT NULL DEFAULT 0,
	next_at timestamp with time zone,
	reply text NOT NULL DEFAULT ''::text,
	ended_at timestamp with time zone,
	CONSTRAINT mail_pkey PRIMARY KEY (id),
	CONSTRAINT mail_dedupe UNIQUE (dedupe_key),
	CONSTRAINT mail_header CHECK (((to_address !~ '[[:cntrl:]]'::text) AND (subject !~ '[[:cntrl:]]'::text))),
	CONSTRAINT mail_queued CHECK (((state = 'queued'::text) = (next_at IS NOT NULL))),
	CONSTRAINT mail_state CHECK ((state = ANY (ARRAY['held'::text, 'queued'::text, 'sent'::text, 'failed'::text])))
);
CREATE INDEX mail_invitation ON mail USING btree (account_id) WHERE (kind = 'invitation'::text);
CREATE INDEX mail_newest ON mail USING btree (created_at DESC, id DESC);
CREATE INDEX mail_plain ON mail USING btree (id) WHERE (to_address <> ''::text);
CREATE INDEX mail_queue ON mail USING btree (next_at) WHERE (state = 'queued'::text);
COMMENT ON TABLE mail IS 'Mails: held where none are sent, else the queue of those to send and what became of them. Personal data of whom they are to: their address, name, purchases and links, sealed and deleted once the mail is sent. Kept for 30 days.';
COMMENT ON COLUMN mail.dedupe_key IS 'See notification.dedupe_key.';
COMMENT ON COLUMN mail.account_id IS 'Whom the mail is to, and whose key seals it: an account; for mails that invite somebody, the invitation.';
COMMENT ON COLUMN mail.letter IS 'Address, name, subject and texts, sealed with the key of the person.';
COMMENT ON COLUMN mail.next_at IS 'When it is tried next. Who sends it puts it off first, so that nobody sends beside.';
COMMENT ON COLUMN mail.reply IS 'What the mail server said last, without the address.';

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
	email text NOT NULL DEFAULT ''::text,
	name text NOT NULL,
	locale text NOT NULL,
	version bigint NOT NULL,
	email_sealed bytea,
	CONSTRAINT person_pkey PRIMARY KEY (account_id)
);
CREATE INDEX person_plain ON person USING btree (account_id) WHERE (email <> ''::text);
COMMENT ON TABLE person IS 'Whom to tell, where and in which language, as the service identity told it. Personal data of the account. Kept as long as the account.';
COMMENT ON COLUMN person.email IS 'The address as processes of before wrote it; empty when email_sealed has it. When both are there this one is newer.';
