-- +goose Up

ALTER TABLE attempt
	ADD COLUMN beyond_time interval NOT NULL DEFAULT '0',
	ADD COLUMN held boolean NOT NULL DEFAULT false,
	ADD COLUMN answered bytea NOT NULL DEFAULT '',
	ADD COLUMN slot integer NOT NULL DEFAULT 0,
	ADD COLUMN network bytea NOT NULL DEFAULT '',
	ADD COLUMN withheld boolean NOT NULL DEFAULT false;
UPDATE attempt SET beyond_time = extra_time WHERE extra_time <> '0';
COMMENT ON COLUMN attempt.extra_time IS 'What was given to this attempt besides.';
COMMENT ON COLUMN attempt.beyond_time IS 'How far the end of the window is moved for this attempt: by what was given beyond it, and by how long staff have held it.';
COMMENT ON COLUMN attempt.expires_at IS 'When the time is over: started_at + (the time limit, or what the window leaves of it) × time_percent + extra_time + paused_time, at most the end of the window + beyond_time; null for never, and while staff hold it.';
COMMENT ON COLUMN attempt.held IS 'Whether it is staff who have stopped its clock: then the window waits too.';
COMMENT ON COLUMN attempt.answered IS 'Which questions are answered, a bit each: bit (slot - 1) % 8 of byte (slot - 1) / 8. It can be made of the log again.';
COMMENT ON COLUMN attempt.slot IS 'The question that something was done at last; 0 for none.';
COMMENT ON COLUMN attempt.network IS 'A keyed hash of the network that it was worked on from last, in exams: whether that changes is noted, not which it is.';
COMMENT ON COLUMN attempt.withheld IS 'Whether its grade waits until somebody has decided what a proctor saw.';

CREATE TABLE exam_action (
	id text COLLATE "C" NOT NULL,
	course_id text COLLATE "C" NOT NULL,
	item_id text COLLATE "C" NOT NULL,
	kind text COLLATE "C" NOT NULL,
	everybody boolean NOT NULL,
	attempts integer NOT NULL,
	seconds integer NOT NULL DEFAULT 0,
	beyond boolean NOT NULL DEFAULT false,
	reason text NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	created_at timestamptz NOT NULL,
	undone_by text COLLATE "C" NOT NULL DEFAULT '',
	undone_at timestamptz,
	CONSTRAINT exam_action_pkey PRIMARY KEY (id),
	CONSTRAINT exam_action_kind CHECK (kind IN ('time', 'hold', 'release', 'tell', 'end', 'reopen'))
);
CREATE INDEX exam_action_of ON exam_action (item_id, created_at DESC, id DESC);
COMMENT ON TABLE exam_action IS 'What staff have done to attempts at an item while they ran, and why. Personal data of the account that did it: its id and its words. Kept with the attempts.';
COMMENT ON COLUMN exam_action.everybody IS 'Whether it was for all attempts that ran; otherwise for those that were named.';
COMMENT ON COLUMN exam_action.reason IS 'The reason that was given, or of tell what was said.';

CREATE TABLE exam_grant (
	action_id text COLLATE "C" NOT NULL,
	attempt_id text COLLATE "C" NOT NULL,
	seconds integer NOT NULL,
	taken interval NOT NULL DEFAULT '0',
	CONSTRAINT exam_grant_pkey PRIMARY KEY (action_id, attempt_id),
	CONSTRAINT exam_grant_action FOREIGN KEY (action_id) REFERENCES exam_action (id),
	CONSTRAINT exam_grant_attempt FOREIGN KEY (attempt_id) REFERENCES attempt (id)
);
COMMENT ON TABLE exam_grant IS 'The time that each attempt was given by an action. No personal data but by its attempt. Kept with the attempt.';
COMMENT ON COLUMN exam_grant.taken IS 'What of it was taken back.';

CREATE TABLE exam_attempt (
	attempt_id text COLLATE "C" NOT NULL,
	item_id text COLLATE "C" NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	events integer NOT NULL DEFAULT 0,
	reported integer NOT NULL DEFAULT 0,
	dropped integer NOT NULL DEFAULT 0,
	tokens double precision NOT NULL DEFAULT 0,
	tokens_at timestamptz,
	last_event_at timestamptz,
	heard_at timestamptz,
	handed_over_at timestamptz,
	verdicts integer NOT NULL DEFAULT 0,
	verdict text COLLATE "C" NOT NULL DEFAULT '',
	verdict_source text COLLATE "C" NOT NULL DEFAULT '',
	verdict_time bigint NOT NULL DEFAULT 0,
	CONSTRAINT exam_attempt_pkey PRIMARY KEY (attempt_id),
	CONSTRAINT exam_attempt_attempt FOREIGN KEY (attempt_id) REFERENCES attempt (id),
	CONSTRAINT exam_attempt_verdict CHECK (verdict IN ('', 'clear', 'suspicious', 'violation'))
) WITH (fillfactor = 70);
CREATE INDEX exam_attempt_of ON exam_attempt (item_id);
COMMENT ON TABLE exam_attempt IS 'What staff watch of an attempt besides the attempt itself: how many events were noted, when its student was heard last, what a proctor thinks. Personal data of the account. Kept with the attempt.';
COMMENT ON COLUMN exam_attempt.events IS 'How many events were noted in all, also those that are deleted by now: the number of the last.';
COMMENT ON COLUMN exam_attempt.reported IS 'How many of them clients have reported, which is bounded.';
COMMENT ON COLUMN exam_attempt.dropped IS 'How many that clients reported were not kept because there were too many.';
COMMENT ON COLUMN exam_attempt.tokens IS 'How many more clients may report at once, as it was at tokens_at.';
COMMENT ON COLUMN exam_attempt.heard_at IS 'When a connection of its student was there last, of those that have ended.';
COMMENT ON COLUMN exam_attempt.handed_over_at IS 'When its student was sent to the proctoring service first.';
COMMENT ON COLUMN exam_attempt.verdict IS 'The one that holds: that of staff, or of the service the newest.';
COMMENT ON COLUMN exam_attempt.verdict_time IS 'The time that the service has signed with the newest verdict, in seconds since 1970.';

CREATE TABLE exam_event (
	attempt_id text COLLATE "C" NOT NULL,
	number integer NOT NULL,
	course_id text COLLATE "C" NOT NULL,
	item_id text COLLATE "C" NOT NULL,
	source text COLLATE "C" NOT NULL,
	kind text COLLATE "C" NOT NULL,
	client_id text COLLATE "C" NOT NULL DEFAULT '',
	client_seq bigint NOT NULL DEFAULT 0,
	slot integer NOT NULL DEFAULT 0,
	duration_ms integer NOT NULL DEFAULT 0,
	size integer NOT NULL DEFAULT 0,
	detail text NOT NULL DEFAULT '',
	happened_at timestamptz,
	noted_at timestamptz NOT NULL,
	CONSTRAINT exam_event_pkey PRIMARY KEY (attempt_id, number),
	CONSTRAINT exam_event_attempt FOREIGN KEY (attempt_id) REFERENCES attempt (id),
	CONSTRAINT exam_event_source CHECK (source IN ('client', 'server', 'service'))
);
CREATE UNIQUE INDEX exam_event_once ON exam_event (attempt_id, source, client_id, client_seq) WHERE source <> 'server';
CREATE INDEX exam_event_of ON exam_event (item_id, noted_at DESC, attempt_id DESC, number DESC);
CREATE INDEX exam_event_noted ON exam_event (noted_at);
COMMENT ON TABLE exam_event IS 'What was noted while attempts ran: by the student''s client, by the server, by a proctoring service. Never changed. Personal data of the account whose attempt it is: what it did while it took an exam. Deleted 365 days after it was noted, and on erasure.';
COMMENT ON COLUMN exam_event.client_id IS 'Of a client what it calls itself; of a service the id of its report.';
COMMENT ON COLUMN exam_event.happened_at IS 'When, by the clock of who reported it; null where that is not said.';

CREATE TABLE exam_student (
	item_id text COLLATE "C" NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	course_id text COLLATE "C" NOT NULL,
	waiting_since timestamptz,
	admitted_by text COLLATE "C" NOT NULL DEFAULT '',
	admitted_at timestamptz,
	excused_by text COLLATE "C" NOT NULL DEFAULT '',
	excused_at timestamptz,
	excuse text NOT NULL DEFAULT '',
	refusals integer NOT NULL DEFAULT 0,
	CONSTRAINT exam_student_pkey PRIMARY KEY (item_id, account_id)
);
COMMENT ON COLUMN exam_student.refusals IS 'How often the student was refused at the door because no lock-down browser asked, once a minute at most.';
COMMENT ON TABLE exam_student IS 'Who waits to be let into an exam, was let in, or may take it without the lock-down browser, and why. Personal data of the account, and of the accounts of staff that decided: their ids and words. Kept as long as the course.';

CREATE TABLE exam_verdict (
	attempt_id text COLLATE "C" NOT NULL,
	number integer NOT NULL,
	source text COLLATE "C" NOT NULL,
	report_id text COLLATE "C" NOT NULL DEFAULT '',
	verdict text COLLATE "C" NOT NULL,
	body text NOT NULL,
	url text NOT NULL DEFAULT '',
	withheld boolean NOT NULL,
	account_id text COLLATE "C" NOT NULL DEFAULT '',
	created_at timestamptz NOT NULL,
	CONSTRAINT exam_verdict_pkey PRIMARY KEY (attempt_id, number),
	CONSTRAINT exam_verdict_attempt FOREIGN KEY (attempt_id) REFERENCES attempt (id)
);
COMMENT ON TABLE exam_verdict IS 'What a proctoring service and staff thought of attempts, one after the other; the newest of staff holds, or of the service. Never changed. Personal data of the account whose attempt it is, and of that of who decided. Kept with the attempt.';
COMMENT ON COLUMN exam_verdict.withheld IS 'Whether the grade waited after it.';

CREATE TABLE exam_report (
	attempt_id text COLLATE "C" NOT NULL,
	report_id text COLLATE "C" NOT NULL,
	received_at timestamptz NOT NULL,
	CONSTRAINT exam_report_pkey PRIMARY KEY (attempt_id, report_id),
	CONSTRAINT exam_report_attempt FOREIGN KEY (attempt_id) REFERENCES attempt (id)
);
COMMENT ON TABLE exam_report IS 'The reports of a proctoring service that were taken, so that each counts once. No personal data but by its attempt. Kept with the attempt.';

CREATE TABLE lockdown_key (
	id text COLLATE "C" NOT NULL,
	quiz_id text COLLATE "C" NOT NULL,
	scheme text COLLATE "C" NOT NULL,
	label text NOT NULL,
	sealed bytea NOT NULL,
	created_by text COLLATE "C" NOT NULL,
	created_at timestamptz NOT NULL,
	CONSTRAINT lockdown_key_pkey PRIMARY KEY (id),
	CONSTRAINT lockdown_key_quiz FOREIGN KEY (quiz_id) REFERENCES quiz (id),
	CONSTRAINT lockdown_key_scheme CHECK (scheme IN ('seb_config', 'seb_browser', 'hmac'))
);
CREATE INDEX lockdown_key_of ON lockdown_key (quiz_id, id);
COMMENT ON TABLE lockdown_key IS 'The keys by which a quiz knows a lock-down browser. Personal data of the account that added one: its id. Kept until it is deleted, at most as long as the quiz.';
COMMENT ON COLUMN lockdown_key.sealed IS 'The key, sealed with the installation''s; it is never shown again.';

CREATE TABLE exam_edge (
	process_id text COLLATE "C" NOT NULL,
	seen_at timestamptz NOT NULL,
	CONSTRAINT exam_edge_pkey PRIMARY KEY (process_id)
);
COMMENT ON TABLE exam_edge IS 'The processes of the edge that hold connections of students, and when each was heard last: its lease. Gone a while after it ends. No personal data.';

CREATE TABLE exam_connection (
	attempt_id text COLLATE "C" NOT NULL,
	process_id text COLLATE "C" NOT NULL,
	since timestamptz NOT NULL,
	CONSTRAINT exam_connection_pkey PRIMARY KEY (attempt_id, process_id),
	CONSTRAINT exam_connection_edge FOREIGN KEY (process_id) REFERENCES exam_edge (process_id)
);
CREATE INDEX exam_connection_of ON exam_connection (process_id);
COMMENT ON TABLE exam_connection IS 'Which process of the edge holds a connection for which attempt. It counts as long as the lease of the process. Gone with the connection. Personal data by its attempt: that its student is connected.';

-- The service may write to all its tables; what was noted is never changed, and is
-- deleted only once it is old.
-- +goose StatementBegin
CREATE FUNCTION never_changes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	RAISE EXCEPTION 'what was noted is never changed: %', TG_TABLE_NAME;
END $$;
-- +goose StatementEnd
CREATE TRIGGER exam_event_never_changes BEFORE UPDATE OR TRUNCATE ON exam_event FOR EACH STATEMENT EXECUTE FUNCTION never_changes();
CREATE TRIGGER exam_verdict_never_changes BEFORE UPDATE OR DELETE OR TRUNCATE ON exam_verdict FOR EACH STATEMENT EXECUTE FUNCTION never_changes();
