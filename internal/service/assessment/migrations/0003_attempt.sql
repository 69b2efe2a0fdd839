-- +goose Up

DROP INDEX attempt_expiring;
ALTER TABLE attempt
	ADD COLUMN time_percent integer NOT NULL DEFAULT 100,
	ADD COLUMN overtime text COLLATE "C" NOT NULL DEFAULT 'submit',
	ADD COLUMN grace interval NOT NULL DEFAULT '0',
	ADD COLUMN breaks boolean NOT NULL DEFAULT false,
	ADD COLUMN paused_at timestamptz,
	ADD COLUMN paused_by text COLLATE "C",
	ADD COLUMN paused_time interval NOT NULL DEFAULT '0',
	ADD COLUMN left_at_pause interval,
	ADD COLUMN closes_at timestamptz GENERATED ALWAYS AS (coalesce(grace_until, expires_at)) STORED,
	ADD COLUMN page integer NOT NULL DEFAULT 0,
	ADD COLUMN clients jsonb NOT NULL DEFAULT '[]',
	ADD COLUMN uncounted integer NOT NULL DEFAULT 0,
	ADD COLUMN notices integer NOT NULL DEFAULT 0,
	ADD COLUMN scored_at timestamptz,
	ADD COLUMN score_after timestamptz,
	ADD CONSTRAINT attempt_overtime CHECK (overtime IN ('submit', 'grace', 'abandon')),
	ADD CONSTRAINT attempt_time_percent CHECK (time_percent BETWEEN 100 AND 500);
-- Saving answers changes no column of an index: room in the page keeps it cheap.
ALTER TABLE attempt SET (fillfactor = 70);
CREATE INDEX attempt_closing ON attempt (closes_at) WHERE state = 'in_progress' AND closes_at IS NOT NULL;
CREATE INDEX attempt_unscored ON attempt (submitted_at) WHERE state IN ('submitted', 'graded') AND scored_at IS NULL;
COMMENT ON COLUMN attempt.time_limit IS 'What everybody has from their start; null for no limit. time_percent, extra_time and paused_time come on top.';
COMMENT ON COLUMN attempt.time_percent IS 'What is eased for the account, in hundredths of the usual time. It never shrinks while the attempt runs.';
COMMENT ON COLUMN attempt.extra_time IS 'What was given to this attempt besides.';
COMMENT ON COLUMN attempt.expires_at IS 'When the time is over: started_at + (the time limit, or what the window leaves of it) × time_percent + extra_time + paused_time, where breaks do not reach beyond the window; null for never.';
COMMENT ON COLUMN attempt.overtime IS 'submit: what was saved is submitted at expires_at; grace: at grace_until, and what came between is late; abandon: not at all.';
COMMENT ON COLUMN attempt.paused_by IS 'The account that stopped the clock: the student''s own for a break.';
COMMENT ON COLUMN attempt.left_at_pause IS 'What was left of the time when the clock was stopped, to show.';
COMMENT ON COLUMN attempt.closes_at IS 'When the server ends it.';
COMMENT ON COLUMN attempt.page IS 'The page that is open where they are taken one after the other.';
COMMENT ON COLUMN attempt.clients IS 'What of each client is in the log: its highest number, the ranges that are missing below, and how far its clock is off. It can be made of the log again.';
COMMENT ON COLUMN attempt.uncounted IS 'How many operations came too late or were refused.';
COMMENT ON COLUMN attempt.notices IS 'How many notices there are.';
COMMENT ON COLUMN attempt.score_after IS 'Not before when it is tried to score it again, where that has failed.';
COMMENT ON COLUMN attempt.scored_at IS 'When what is derived was made of the log; null when it has to be made anew.';

ALTER TABLE answer_operation
	ADD COLUMN page integer NOT NULL DEFAULT 0,
	ADD COLUMN code text COLLATE "C" NOT NULL DEFAULT '',
	ADD CONSTRAINT answer_operation_verdict CHECK (verdict IN ('accepted', 'late', 'overtaken', 'too_late', 'refused'));
COMMENT ON COLUMN answer_operation.client_seq IS 'Its number at the client, from 1; of the server''s own, seq.';
COMMENT ON COLUMN answer_operation.value IS 'The canonical JSON of what was given, as docs/answers.md says; null where nothing is.';
COMMENT ON COLUMN answer_operation.page IS 'The page that was gone on to; 0 for all other kinds.';
COMMENT ON COLUMN answer_operation.code IS 'Why it does not count.';
COMMENT ON COLUMN answer_operation.verdict IS 'What was told: accepted, late (came in the time of grace and counts), overtaken (the same client had sent a newer answer), too_late, refused (of a part that is closed). The last three do not count, but for what answer_acceptance says.';

CREATE TABLE answer_acceptance (
	attempt_id text COLLATE "C" NOT NULL,
	seq bigint NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	reason text NOT NULL,
	accepted_at timestamptz NOT NULL,
	CONSTRAINT answer_acceptance_pkey PRIMARY KEY (attempt_id, seq),
	CONSTRAINT answer_acceptance_operation FOREIGN KEY (attempt_id, seq) REFERENCES answer_operation (attempt_id, seq)
);
COMMENT ON TABLE answer_acceptance IS 'Operations that staff had count although they were too late or refused. Appended to and never changed. Personal data of the account that decided: its id and its reason. Kept with the attempt.';

CREATE TABLE receipt (
	id text COLLATE "C" NOT NULL,
	attempt_id text COLLATE "C" NOT NULL,
	number integer NOT NULL,
	submitted_at timestamptz NOT NULL,
	submitted_by text COLLATE "C" NOT NULL,
	operations integer NOT NULL,
	last_seq bigint NOT NULL,
	header text NOT NULL,
	sha256 bytea NOT NULL,
	key_id text COLLATE "C" NOT NULL,
	signature bytea NOT NULL,
	created_at timestamptz NOT NULL,
	CONSTRAINT receipt_pkey PRIMARY KEY (id),
	CONSTRAINT receipt_number UNIQUE (attempt_id, number),
	CONSTRAINT receipt_attempt FOREIGN KEY (attempt_id) REFERENCES attempt (id)
);
COMMENT ON TABLE receipt IS 'What students were given when an attempt was submitted: the hash of the operations that count, signed. Appended to and never changed. Personal data of the account whose attempt it is: its id in the header. Kept with the attempt.';
COMMENT ON COLUMN receipt.header IS 'The first line of the canonical form, as docs/answers.md says.';
COMMENT ON COLUMN receipt.key_id IS 'The key of the signature; empty where there was none.';

CREATE TABLE receipt_key (
	id text COLLATE "C" NOT NULL,
	public_key bytea NOT NULL,
	private_key bytea NOT NULL,
	created_at timestamptz NOT NULL,
	CONSTRAINT receipt_key_pkey PRIMARY KEY (id)
);
COMMENT ON TABLE receipt_key IS 'The Ed25519 keys that receipts are signed with. Public parts are published for ever. No personal data.';
COMMENT ON COLUMN receipt_key.private_key IS 'Its seed, sealed.';

CREATE TABLE attempt_notice (
	attempt_id text COLLATE "C" NOT NULL,
	number integer NOT NULL,
	kind text COLLATE "C" NOT NULL,
	body text NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	created_at timestamptz NOT NULL,
	CONSTRAINT attempt_notice_pkey PRIMARY KEY (attempt_id, number),
	CONSTRAINT attempt_notice_attempt FOREIGN KEY (attempt_id) REFERENCES attempt (id)
);
COMMENT ON TABLE attempt_notice IS 'What students were told while their attempt ran. Personal data of the account that said it, empty for the server: its id and what it said. Kept with the attempt.';

CREATE TABLE accommodation_task (
	account_id text COLLATE "C" NOT NULL,
	version bigint NOT NULL DEFAULT 1,
	retry_at timestamptz NOT NULL,
	CONSTRAINT accommodation_task_pkey PRIMARY KEY (account_id)
);
CREATE INDEX accommodation_task_due ON accommodation_task (retry_at);
COMMENT ON TABLE accommodation_task IS 'Accounts for whom something was eased, and whose running attempts have to follow. Gone once they have. Personal data: the id.';

-- The service may write to all its tables; these only grow.
-- +goose StatementBegin
CREATE FUNCTION only_grows() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	RAISE EXCEPTION 'the log of answers only grows: %', TG_TABLE_NAME;
END $$;
-- +goose StatementEnd
CREATE TRIGGER answer_operation_only_grows BEFORE UPDATE OR DELETE OR TRUNCATE ON answer_operation FOR EACH STATEMENT EXECUTE FUNCTION only_grows();
CREATE TRIGGER answer_acceptance_only_grows BEFORE UPDATE OR DELETE OR TRUNCATE ON answer_acceptance FOR EACH STATEMENT EXECUTE FUNCTION only_grows();
CREATE TRIGGER receipt_only_grows BEFORE UPDATE OR DELETE OR TRUNCATE ON receipt FOR EACH STATEMENT EXECUTE FUNCTION only_grows();
