-- What the migrations make of the schema "assessment". Generated; do not edit:
-- bin/testservers -only postgres -- go test ./internal/app -run TestSchemaDumps -update

CREATE TABLE accommodation_task (
	account_id text COLLATE "C" NOT NULL,
	version bigint NOT NULL DEFAULT 1,
	retry_at timestamp with time zone NOT NULL,
	CONSTRAINT accommodation_task_pkey PRIMARY KEY (account_id)
);
CREATE INDEX accommodation_task_due ON accommodation_task USING btree (retry_at);
COMMENT ON TABLE accommodation_task IS 'Accounts for whom something was eased, and whose running attempts have to follow. Gone once they have. Personal data: the id.';

CREATE TABLE answer_acceptance (
	attempt_id text COLLATE "C" NOT NULL,
	seq bigint NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	reason text NOT NULL,
	accepted_at timestamp with time zone NOT NULL,
	CONSTRAINT answer_acceptance_pkey PRIMARY KEY (attempt_id, seq),
	CONSTRAINT answer_acceptance_operation FOREIGN KEY (attempt_id, seq) REFERENCES answer_operation(attempt_id, seq)
);
CREATE OR REPLACE FUNCTION only_grows()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
	RAISE EXCEPTION 'the log of answers only grows: %', TG_TABLE_NAME;
END $function$;
CREATE TRIGGER answer_acceptance_only_grows BEFORE DELETE OR UPDATE OR TRUNCATE ON answer_acceptance FOR EACH STATEMENT EXECUTE FUNCTION only_grows();
COMMENT ON TABLE answer_acceptance IS 'Operations that staff had count although they were too late or refused. Appended to and never changed. Personal data of the account that decided: its id and its reason. Kept with the attempt.';

CREATE TABLE answer_file (
	attempt_id text COLLATE "C" NOT NULL,
	media_id text COLLATE "C" NOT NULL,
	told boolean NOT NULL DEFAULT false,
	CONSTRAINT answer_file_pkey PRIMARY KEY (attempt_id, media_id),
	CONSTRAINT answer_file_attempt FOREIGN KEY (attempt_id) REFERENCES attempt(id)
);
CREATE INDEX answer_file_untold ON answer_file USING btree (attempt_id) WHERE (NOT told);
COMMENT ON TABLE answer_file IS 'Files that answers of submitted attempts name, which the service media keeps from then on. Personal data of the account whose attempt it is: what it handed in. Kept with the attempt.';
COMMENT ON COLUMN answer_file.told IS 'Whether media was told.';

CREATE TABLE answer_given (
	attempt_id text COLLATE "C" NOT NULL,
	slot integer NOT NULL,
	seq integer NOT NULL,
	answer_seq bigint NOT NULL,
	part integer NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	points text COLLATE "C" NOT NULL,
	comment text NOT NULL,
	comments bytea,
	rubric bytea,
	reason text NOT NULL DEFAULT ''::text,
	given_at timestamp with time zone NOT NULL,
	max_points text COLLATE "C",
	CONSTRAINT answer_given_pkey PRIMARY KEY (attempt_id, slot, seq),
	CONSTRAINT answer_given_question FOREIGN KEY (attempt_id, slot) REFERENCES attempt_question(attempt_id, slot),
	CONSTRAINT answer_given_part CHECK ((part = ANY (ARRAY[1, 2, 3])))
);
CREATE OR REPLACE FUNCTION only_grows()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
	RAISE EXCEPTION 'the log of answers only grows: %', TG_TABLE_NAME;
END $function$;
CREATE TRIGGER answer_given_only_grows BEFORE DELETE OR UPDATE OR TRUNCATE ON answer_given FOR EACH STATEMENT EXECUTE FUNCTION only_grows();
COMMENT ON TABLE answer_given IS 'Marks of answers that two mark, from which the mark that counts is made, which is in answer_mark: as given_mark has those of submissions. Appended to and never changed. Personal data of the account whose attempt it is (what is said of its answer) and of who marked it. Kept with the attempt.';
COMMENT ON COLUMN answer_given.answer_seq IS 'The operation of the log that the answer came with; 0 for none. Another answer is marked anew.';
COMMENT ON COLUMN answer_given.part IS '1 and 2: of the markers of these numbers. 3: what was agreed, or settled.';
COMMENT ON COLUMN answer_given.points IS 'An exact number of the points that the question was worth.';
COMMENT ON COLUMN answer_given.comments IS 'Always null: as given_mark has it.';
COMMENT ON COLUMN answer_given.max_points IS 'What the question was worth when it was given, of which points are; null of marks from before it was noted.';

CREATE TABLE answer_given_marker (
	attempt_id text COLLATE "C" NOT NULL,
	slot integer NOT NULL,
	part integer NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	answer_seq bigint NOT NULL,
	CONSTRAINT answer_given_marker_pkey PRIMARY KEY (attempt_id, slot, part),
	CONSTRAINT answer_given_marker_one UNIQUE (attempt_id, slot, account_id),
	CONSTRAINT answer_given_marker_question FOREIGN KEY (attempt_id, slot) REFERENCES attempt_question(attempt_id, slot),
	CONSTRAINT answer_given_marker_part CHECK ((part = ANY (ARRAY[1, 2])))
);
COMMENT ON TABLE answer_given_marker IS 'The two who mark an answer that is marked twice: nobody is both. Gone once another answer counts, which is marked anew. Personal data of the accounts that mark: their ids. Kept with the attempt.';

CREATE TABLE answer_mark (
	attempt_id text COLLATE "C" NOT NULL,
	seq bigint NOT NULL,
	slot integer NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	points text COLLATE "C",
	fraction text COLLATE "C",
	withdrawn boolean NOT NULL DEFAULT false,
	comment text NOT NULL DEFAULT ''::text,
	reason text NOT NULL DEFAULT ''::text,
	rubric bytea,
	marked_at timestamp with time zone NOT NULL,
	answer_seq bigint,
	max_points text COLLATE "C",
	CONSTRAINT answer_mark_pkey PRIMARY KEY (attempt_id, seq),
	CONSTRAINT answer_mark_operation FOREIGN KEY (attempt_id, seq) REFERENCES answer_operation(attempt_id, seq),
	CONSTRAINT answer_mark_one CHECK (((num_nonnulls(points, fraction) <= 1) AND (NOT (withdrawn AND (num_nonnulls(points, fraction) > 0)))))
);
CREATE INDEX answer_mark_of ON answer_mark USING btree (attempt_id, slot, seq);
CREATE OR REPLACE FUNCTION only_grows()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
	RAISE EXCEPTION 'the log of answers only grows: %', TG_TABLE_NAME;
END $function$;
CREATE TRIGGER answer_mark_only_grows BEFORE DELETE OR UPDATE OR TRUNCATE ON answer_mark FOR EACH STATEMENT EXECUTE FUNCTION only_grows();
COMMENT ON TABLE answer_mark IS 'What people gave to answers: what the operations "mark" of the log hold. Appended to and never changed. Personal data of the account whose attempt it is: its marks; of the account that marked: its id and what it said. Kept with the attempt.';
COMMENT ON COLUMN answer_mark.points IS 'A decimal of what the question is worth; null where none were given.';
COMMENT ON COLUMN answer_mark.fraction IS 'The exact fraction that was given, or that the rubric gives; null where none was.';
COMMENT ON COLUMN answer_mark.reason IS 'Why it differs from what the program gave.';
COMMENT ON COLUMN answer_mark.rubric IS 'The stoa.assessment.v1.RubricMarks, in binary form; null without a rubric.';
COMMENT ON COLUMN answer_mark.answer_seq IS 'The operation of the log that the answer came with which was marked; 0 for none, null of marks from before it was noted. Another answer is marked anew.';
COMMENT ON COLUMN answer_mark.max_points IS 'What the question was worth when it was marked, of which points are; null of marks from before it was noted.';

CREATE TABLE answer_operation (
	attempt_id text COLLATE "C" NOT NULL,
	seq bigint NOT NULL,
	client_id text COLLATE "C" NOT NULL,
	client_seq bigint NOT NULL,
	slot integer NOT NULL,
	kind text COLLATE "C" NOT NULL,
	value bytea,
	client_time timestamp with time zone,
	received_at timestamp with time zone NOT NULL,
	verdict text COLLATE "C" NOT NULL,
	page integer NOT NULL DEFAULT 0,
	code text COLLATE "C" NOT NULL DEFAULT ''::text,
	CONSTRAINT answer_operation_pkey PRIMARY KEY (attempt_id, seq),
	CONSTRAINT answer_operation_once UNIQUE (attempt_id, client_id, client_seq),
	CONSTRAINT answer_operation_attempt FOREIGN KEY (attempt_id) REFERENCES attempt(id),
	CONSTRAINT answer_operation_verdict CHECK ((verdict = ANY (ARRAY['accepted'::text, 'late'::text, 'overtaken'::text, 'too_late'::text, 'refused'::text])))
);
CREATE OR REPLACE FUNCTION only_grows()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
	RAISE EXCEPTION 'the log of answers only grows: %', TG_TABLE_NAME;
END $function$;
CREATE TRIGGER answer_operation_only_grows BEFORE DELETE OR UPDATE OR TRUNCATE ON answer_operation FOR EACH STATEMENT EXECUTE FUNCTION only_grows();
COMMENT ON TABLE answer_operation IS 'The log of what students answered, appended to and never changed: what an attempt''s state and score are made of. Personal data of the account whose attempt it is: their answers, and when they gave them. Kept with the attempt.';
COMMENT ON COLUMN answer_operation.seq IS 'Its number in the attempt, from 1 without gaps, in the order of arrival. Marks have numbers of their own, from 1,000,001; those from before they had are among the others.';
COMMENT ON COLUMN answer_operation.client_id IS 'The device or tab that sent it, as it calls itself, or "server".';
COMMENT ON COLUMN answer_operation.client_seq IS 'Its number at the client, from 1; of the server''s own, seq.';
COMMENT ON COLUMN answer_operation.slot IS 'The question; 0 for the attempt as a whole.';
COMMENT ON COLUMN answer_operation.value IS 'The canonical JSON of what was given, as docs/answers.md says; null where nothing is.';
COMMENT ON COLUMN answer_operation.verdict IS 'What was told: accepted, late (came in the time of grace and counts), overtaken (the same client had sent a newer answer), too_late, refused (of a part that is closed). The last three do not count, but for what answer_acceptance says.';
COMMENT ON COLUMN answer_operation.page IS 'The page that was gone on to; 0 for all other kinds.';
COMMENT ON COLUMN answer_operation.code IS 'Why it does not count.';

CREATE TABLE assignment (
	id text COLLATE "C" NOT NULL,
	course_id text COLLATE "C" NOT NULL,
	title text NOT NULL,
	draft bytea NOT NULL,
	revision bigint NOT NULL DEFAULT 1,
	published_revision bigint NOT NULL DEFAULT 0,
	version integer NOT NULL DEFAULT 0,
	edited_by text COLLATE "C" NOT NULL,
	edited_at timestamp with time zone NOT NULL,
	created_by text COLLATE "C" NOT NULL,
	created_at timestamp with time zone NOT NULL,
	updated_at timestamp with time zone NOT NULL,
	copied_from text COLLATE "C" NOT NULL DEFAULT ''::text,
	deleted_at timestamp with time zone,
	peer_reviewed boolean NOT NULL DEFAULT false,
	peer_only boolean NOT NULL DEFAULT false,
	CONSTRAINT assignment_pkey PRIMARY KEY (id)
);
CREATE INDEX assignment_of_course ON assignment USING btree (course_id, id) WHERE (deleted_at IS NULL);
COMMENT ON TABLE assignment IS 'The assignments of courses, as their authors are changing them. Personal data of the accounts that made one and changed it last: their ids. Kept as long as the course.';
COMMENT ON COLUMN assignment.draft IS 'The stoa.assessment.v1.AssignmentSettings that are edited, in binary form.';
COMMENT ON COLUMN assignment.version IS 'The version that is handed in to; 0 while there is none.';
COMMENT ON COLUMN assignment.peer_reviewed IS 'Whether students review each other''s work by the version published last.';
COMMENT ON COLUMN assignment.peer_only IS 'Whether its reviews alone make the mark.';

CREATE TABLE assignment_copy (
	assignment_id text COLLATE "C" NOT NULL,
	course_id text COLLATE "C" NOT NULL,
	from_assignment_id text COLLATE "C" NOT NULL,
	from_course_id text COLLATE "C" NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	retry_at timestamp with time zone NOT NULL,
	CONSTRAINT assignment_copy_pkey PRIMARY KEY (assignment_id)
);
CREATE INDEX assignment_copy_due ON assignment_copy USING btree (retry_at);
COMMENT ON TABLE assignment_copy IS 'Assignments that are to be made of others because a course was copied. Gone once they are. Personal data of the account that copied: its id.';

CREATE TABLE assignment_due (
	course_id text COLLATE "C" NOT NULL,
	item_id text COLLATE "C" NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	queued bigint NOT NULL GENERATED BY DEFAULT AS IDENTITY,
	CONSTRAINT assignment_due_pkey PRIMARY KEY (course_id, item_id, account_id)
);
CREATE INDEX assignment_due_queued ON assignment_due USING btree (queued);
COMMENT ON TABLE assignment_due IS 'Whose due dates have changed at an assignment to which they have handed in, until they were asked for. Personal data: the id of the account.';

CREATE TABLE assignment_mark (
	course_id text COLLATE "C" NOT NULL,
	item_id text COLLATE "C" NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	assignment_id text COLLATE "C" NOT NULL DEFAULT ''::text,
	assignment_version integer NOT NULL DEFAULT 0,
	state text COLLATE "C" NOT NULL DEFAULT 'none'::text,
	source_id text COLLATE "C" NOT NULL DEFAULT ''::text,
	source_number integer NOT NULL DEFAULT 0,
	points text COLLATE "C" NOT NULL DEFAULT ''::text,
	max_points text COLLATE "C" NOT NULL DEFAULT ''::text,
	submitted_at timestamp with time zone,
	late_seconds bigint NOT NULL DEFAULT 0,
	attempts integer NOT NULL DEFAULT 0,
	marked_by text COLLATE "C" NOT NULL DEFAULT ''::text,
	version bigint NOT NULL DEFAULT 0,
	first_submitted_at timestamp with time zone,
	result_version bigint NOT NULL DEFAULT 0,
	others jsonb,
	CONSTRAINT assignment_mark_pkey PRIMARY KEY (course_id, item_id, account_id),
	CONSTRAINT assignment_mark_state CHECK ((state = ANY (ARRAY['none'::text, 'submitted'::text, 'marked'::text])))
);
CREATE INDEX assignment_mark_of ON assignment_mark USING btree (assignment_id, assignment_version);
COMMENT ON TABLE assignment_mark IS 'What counts of what somebody handed in at an item, as the gradebook was told last. Personal data of the account: its mark. Kept as grades of record as long as the course.';
COMMENT ON COLUMN assignment_mark.assignment_version IS 'The version whose settings made it.';
COMMENT ON COLUMN assignment_mark.version IS 'Of the MarkChanged that told it.';
COMMENT ON COLUMN assignment_mark.result_version IS 'Of the ActivityResultChanged that told first_submitted_at.';
COMMENT ON COLUMN assignment_mark.others IS 'As quiz_mark.others.';

CREATE TABLE assignment_remark (
	assignment_id text COLLATE "C" NOT NULL,
	CONSTRAINT assignment_remark_pkey PRIMARY KEY (assignment_id)
);
COMMENT ON TABLE assignment_remark IS 'Assignments that were published anew, whose marks follow. Gone once they have. No personal data.';

CREATE TABLE assignment_version (
	assignment_id text COLLATE "C" NOT NULL,
	version integer NOT NULL,
	title text NOT NULL,
	settings bytea NOT NULL,
	message text NOT NULL DEFAULT ''::text,
	created_by text COLLATE "C" NOT NULL,
	created_at timestamp with time zone NOT NULL,
	CONSTRAINT assignment_version_pkey PRIMARY KEY (assignment_id, version),
	CONSTRAINT assignment_version_assignment FOREIGN KEY (assignment_id) REFERENCES assignment(id)
);
COMMENT ON TABLE assignment_version IS 'What of an assignment was published, never changed: what is handed in names one. Personal data of the account that published it: its id. Kept as long as the assignment.';

CREATE TABLE attempt (
	id text COLLATE "C" NOT NULL,
	course_id text COLLATE "C" NOT NULL,
	item_id text COLLATE "C" NOT NULL,
	quiz_id text COLLATE "C" NOT NULL,
	quiz_version integer NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	number integer NOT NULL,
	state text COLLATE "C" NOT NULL,
	preview boolean NOT NULL DEFAULT false,
	engine_version integer NOT NULL,
	seed bigint NOT NULL,
	open_from timestamp with time zone,
	open_until timestamp with time zone,
	due_at timestamp with time zone,
	prepared_at timestamp with time zone NOT NULL,
	started_at timestamp with time zone,
	time_limit interval,
	extra_time interval NOT NULL DEFAULT '00:00:00'::interval,
	expires_at timestamp with time zone,
	grace_until timestamp with time zone,
	submitted_at timestamp with time zone,
	submitted_by text COLLATE "C",
	graded_at timestamp with time zone,
	last_seq bigint NOT NULL DEFAULT 0,
	saved_at timestamp with time zone,
	points numeric(20,6),
	max_points numeric(20,6) NOT NULL,
	revision bigint NOT NULL DEFAULT 1,
	time_percent integer NOT NULL DEFAULT 100,
	overtime text COLLATE "C" NOT NULL DEFAULT 'submit'::text,
	grace interval NOT NULL DEFAULT '00:00:00'::interval,
	breaks boolean NOT NULL DEFAULT false,
	paused_at timestamp with time zone,
	paused_by text COLLATE "C",
	paused_time interval NOT NULL DEFAULT '00:00:00'::interval,
	left_at_pause interval,
	closes_at timestamp with time zone GENERATED ALWAYS AS (COALESCE(grace_until, expires_at)) STORED,
	page integer NOT NULL DEFAULT 0,
	clients jsonb NOT NULL DEFAULT '[]'::jsonb,
	uncounted integer NOT NULL DEFAULT 0,
	notices integer NOT NULL DEFAULT 0,
	scored_at timestamp with time zone,
	score_after timestamp with time zone,
	beyond_time interval NOT NULL DEFAULT '00:00:00'::interval,
	held boolean NOT NULL DEFAULT false,
	answered bytea NOT NULL DEFAULT '\x'::bytea,
	slot integer NOT NULL DEFAULT 0,
	network bytea NOT NULL DEFAULT '\x'::bytea,
	withheld boolean NOT NULL DEFAULT false,
	discarded_at timestamp with time zone,
	CONSTRAINT attempt_pkey PRIMARY KEY (id),
	CONSTRAINT attempt_number UNIQUE (quiz_id, item_id, account_id, preview, number),
	CONSTRAINT attempt_overtime CHECK ((overtime = ANY (ARRAY['submit'::text, 'grace'::text, 'abandon'::text]))),
	CONSTRAINT attempt_started CHECK (((state = 'prepared'::text) OR (started_at IS NOT NULL))),
	CONSTRAINT attempt_state CHECK ((state = ANY (ARRAY['prepared'::text, 'in_progress'::text, 'submitted'::text, 'graded'::text, 'abandoned'::text]))),
	CONSTRAINT attempt_submitted CHECK (((state = ANY (ARRAY['submitted'::text, 'graded'::text])) = (submitted_at IS NOT NULL))),
	CONSTRAINT attempt_time_percent CHECK (((time_percent >= 100) AND (time_percent <= 500)))
) WITH (fillfactor=70);
CREATE INDEX attempt_closing ON attempt USING btree (closes_at) WHERE ((state = 'in_progress'::text) AND (closes_at IS NOT NULL));
CREATE INDEX attempt_of_account ON attempt USING btree (account_id, started_at DESC, id DESC);
CREATE INDEX attempt_of_account_prepared ON attempt USING btree (account_id, course_id) WHERE (state = 'prepared'::text);
CREATE INDEX attempt_of_item ON attempt USING btree (item_id, account_id, number);
CREATE INDEX attempt_of_quiz_prepared ON attempt USING btree (quiz_id, item_id, account_id) WHERE (state = 'prepared'::text);
CREATE UNIQUE INDEX attempt_preview ON attempt USING btree (account_id) WHERE (preview AND (discarded_at IS NULL));
CREATE INDEX attempt_preview_old ON attempt USING btree (prepared_at) WHERE (preview AND (discarded_at IS NULL));
CREATE UNIQUE INDEX attempt_running ON attempt USING btree (quiz_id, item_id, account_id, preview) WHERE (state = ANY (ARRAY['prepared'::text, 'in_progress'::text]));
CREATE INDEX attempt_to_grade ON attempt USING btree (submitted_at) WHERE (state = 'submitted'::text);
CREATE INDEX attempt_to_mark ON attempt USING btree (course_id, item_id, id) WHERE ((state = ANY (ARRAY['submitted'::text, 'graded'::text])) AND (NOT preview));
CREATE INDEX attempt_unscored ON attempt USING btree (submitted_at) WHERE ((state = ANY (ARRAY['submitted'::text, 'graded'::text])) AND (scored_at IS NULL));
COMMENT ON TABLE attempt IS 'Attempts at quizzes. Personal data of the account: when they took it, and their score. Kept as grades of record as long as the course; on erasure the account becomes a pseudonym.';
COMMENT ON COLUMN attempt.state IS 'prepared: made ahead, not seen by the student yet; in_progress; submitted: no more answers, being scored or waiting for marks; graded: every question has its marks; abandoned: never submitted where the quiz does not submit by itself.';
COMMENT ON COLUMN attempt.preview IS 'Whether a teacher tries the quiz. It counts nowhere.';
COMMENT ON COLUMN attempt.seed IS 'What shuffles, draws and data sets come of, with the engine''s version.';
COMMENT ON COLUMN attempt.open_from IS 'When it may be started: the item''s release and schedule for this account as they were when it was prepared.';
COMMENT ON COLUMN attempt.time_limit IS 'What everybody has from their start; null for no limit. time_percent, extra_time and paused_time come on top.';
COMMENT ON COLUMN attempt.extra_time IS 'What was given to this attempt besides.';
COMMENT ON COLUMN attempt.expires_at IS 'When the time is over: started_at + (the time limit, or what the window leaves of it) × time_percent + extra_time + paused_time, at most the end of the window + beyond_time; null for never, and while staff hold it.';
COMMENT ON COLUMN attempt.grace_until IS 'Until when what comes late may still count, by the quiz''s policy.';
COMMENT ON COLUMN attempt.submitted_by IS 'The account, "clock" for the server, or who of the staff did it.';
COMMENT ON COLUMN attempt.last_seq IS 'The number of the last operation in its log.';
COMMENT ON COLUMN attempt.time_percent IS 'What is eased for the account, in hundredths of the usual time. It never shrinks while the attempt runs.';
COMMENT ON COLUMN attempt.overtime IS 'submit: what was saved is submitted at expires_at; grace: at grace_until, and what came between is late; abandon: not at all.';
COMMENT ON COLUMN attempt.paused_by IS 'The account that stopped the clock: the student''s own for a break.';
COMMENT ON COLUMN attempt.left_at_pause IS 'What was left of the time when the clock was stopped, to show.';
COMMENT ON COLUMN attempt.closes_at IS 'When the server ends it.';
COMMENT ON COLUMN attempt.page IS 'The page that is open where they are taken one after the other.';
COMMENT ON COLUMN attempt.clients IS 'What of each client is in the log: its highest number, the ranges that are missing below, and how far its clock is off. It can be made of the log again.';
COMMENT ON COLUMN attempt.uncounted IS 'How many operations came too late or were refused.';
COMMENT ON COLUMN attempt.notices IS 'How many notices there are.';
COMMENT ON COLUMN attempt.scored_at IS 'When what is derived was made of the log; null when it has to be made anew.';
COMMENT ON COLUMN attempt.score_after IS 'Not before when it is tried to score it again, where that has failed.';
COMMENT ON COLUMN attempt.beyond_time IS 'How far the end of the window is moved for this attempt: by what was given beyond it, and by how long staff have held it.';
COMMENT ON COLUMN attempt.held IS 'Whether it is staff who have stopped its clock: then the window waits too.';
COMMENT ON COLUMN attempt.answered IS 'Which questions are answered, a bit each: bit (slot - 1) % 8 of byte (slot - 1) / 8. It can be made of the log again.';
COMMENT ON COLUMN attempt.slot IS 'The question that something was done at last; 0 for none.';
COMMENT ON COLUMN attempt.network IS 'A keyed hash of the network that it was worked on from last, in exams: whether that changes is noted, not which it is.';
COMMENT ON COLUMN attempt.withheld IS 'Whether its grade waits until somebody has decided what a proctor saw.';
COMMENT ON COLUMN attempt.discarded_at IS 'When a preview was thrown away: nobody sees it any more.';

CREATE TABLE attempt_notice (
	attempt_id text COLLATE "C" NOT NULL,
	number integer NOT NULL,
	kind text COLLATE "C" NOT NULL,
	body text NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	created_at timestamp with time zone NOT NULL,
	CONSTRAINT attempt_notice_pkey PRIMARY KEY (attempt_id, number),
	CONSTRAINT attempt_notice_attempt FOREIGN KEY (attempt_id) REFERENCES attempt(id)
);
COMMENT ON TABLE attempt_notice IS 'What students were told while their attempt ran. Personal data of the account that said it, empty for the server: its id and what it said. Kept with the attempt.';

CREATE TABLE attempt_question (
	attempt_id text COLLATE "C" NOT NULL,
	slot integer NOT NULL,
	section integer NOT NULL DEFAULT 0,
	page integer NOT NULL DEFAULT 0,
	question_id text COLLATE "C" NOT NULL,
	question_version integer NOT NULL,
	key_version integer NOT NULL,
	behaviour text COLLATE "C" NOT NULL,
	seed bigint NOT NULL,
	max_points numeric(20,6) NOT NULL,
	state text COLLATE "C" NOT NULL DEFAULT 'todo'::text,
	fraction text COLLATE "C",
	points numeric(20,6),
	revision bigint NOT NULL DEFAULT 1,
	scoring text COLLATE "C" NOT NULL DEFAULT 'key'::text,
	own_points numeric(20,6),
	CONSTRAINT attempt_question_pkey PRIMARY KEY (attempt_id, slot),
	CONSTRAINT attempt_question_attempt FOREIGN KEY (attempt_id) REFERENCES attempt(id),
	CONSTRAINT attempt_question_scoring CHECK ((scoring = ANY (ARRAY['key'::text, 'full'::text])))
);
CREATE INDEX attempt_question_in ON attempt_question USING btree (question_id, attempt_id);
CREATE INDEX attempt_question_of ON attempt_question USING btree (question_id, question_version);
CREATE INDEX attempt_question_to_mark ON attempt_question USING btree (question_id, attempt_id, slot) WHERE (state = ANY (ARRAY['needs_marking'::text, 'marked'::text]));
COMMENT ON TABLE attempt_question IS 'The questions of an attempt, pinned: what is asked, what it is scored by, and with which seed. What it scored follows from the log. Personal data of the account whose attempt it is. Kept with the attempt.';
COMMENT ON COLUMN attempt_question.slot IS 'The place in the attempt as the student sees it, from 1.';
COMMENT ON COLUMN attempt_question.question_version IS 'The version that the student sees.';
COMMENT ON COLUMN attempt_question.key_version IS 'The version whose key scores it: another than the one seen after a change of the key.';
COMMENT ON COLUMN attempt_question.state IS 'As the engine tells it: todo, answered, right, partly, wrong, gave_up, needs_marking, marked. What was told last; the log is what counts.';
COMMENT ON COLUMN attempt_question.fraction IS 'The exact fraction of max_points, such as "1/3"; null while there is none.';
COMMENT ON COLUMN attempt_question.points IS 'fraction of max_points, to show; totals are made of the fractions.';
COMMENT ON COLUMN attempt_question.scoring IS 'key: by the key of key_version; full: everybody has all its points.';
COMMENT ON COLUMN attempt_question.own_points IS 'What it was worth before a re-key gave it other points; null where max_points is that.';

CREATE TABLE bank_share (
	course_id text COLLATE "C" NOT NULL,
	with_course_id text COLLATE "C" NOT NULL,
	shared_by text COLLATE "C" NOT NULL,
	shared_at timestamp with time zone NOT NULL,
	CONSTRAINT bank_share_pkey PRIMARY KEY (course_id, with_course_id),
	CONSTRAINT bank_share_other CHECK ((course_id <> with_course_id))
);
CREATE INDEX bank_share_with ON bank_share USING btree (with_course_id);
COMMENT ON TABLE bank_share IS 'Which courses may use the questions of which. Personal data of the account that shared: its id. Kept until it is ended.';

CREATE TABLE cohort_member (
	course_id text COLLATE "C" NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	cohort_id text COLLATE "C" NOT NULL,
	version bigint NOT NULL,
	CONSTRAINT cohort_member_pkey PRIMARY KEY (course_id, account_id)
);
COMMENT ON TABLE cohort_member IS 'In which cohort of a course somebody is, as the service access told it; an empty cohort is none. Personal data of the account: its cohort. Kept as long as the course.';

CREATE TABLE course_group (
	group_id text COLLATE "C" NOT NULL,
	course_id text COLLATE "C" NOT NULL,
	name text NOT NULL,
	deleted boolean NOT NULL,
	version bigint NOT NULL,
	CONSTRAINT course_group_pkey PRIMARY KEY (group_id)
);
CREATE INDEX course_group_of ON course_group USING btree (course_id, group_id) WHERE (NOT deleted);
COMMENT ON TABLE course_group IS 'The groups of courses, as the service access told it. No personal data.';

CREATE TABLE enrollment (
	course_id text COLLATE "C" NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	version bigint NOT NULL,
	live boolean NOT NULL,
	CONSTRAINT enrollment_pkey PRIMARY KEY (course_id, account_id)
);
COMMENT ON TABLE enrollment IS 'Who takes a course, as the service access told it. Personal data of the account: that it takes the course, or did. Kept as long as the course.';

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
	created_at timestamp with time zone NOT NULL,
	undone_by text COLLATE "C" NOT NULL DEFAULT ''::text,
	undone_at timestamp with time zone,
	CONSTRAINT exam_action_pkey PRIMARY KEY (id),
	CONSTRAINT exam_action_kind CHECK ((kind = ANY (ARRAY['time'::text, 'hold'::text, 'release'::text, 'tell'::text, 'end'::text, 'reopen'::text])))
);
CREATE INDEX exam_action_of ON exam_action USING btree (item_id, created_at DESC, id DESC);
COMMENT ON TABLE exam_action IS 'What staff have done to attempts at an item while they ran, and why. Personal data of the account that did it: its id and its words. Kept with the attempts.';
COMMENT ON COLUMN exam_action.everybody IS 'Whether it was for all attempts that ran; otherwise for those that were named.';
COMMENT ON COLUMN exam_action.reason IS 'The reason that was given, or of tell what was said.';

CREATE TABLE exam_attempt (
	attempt_id text COLLATE "C" NOT NULL,
	item_id text COLLATE "C" NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	events integer NOT NULL DEFAULT 0,
	reported integer NOT NULL DEFAULT 0,
	dropped integer NOT NULL DEFAULT 0,
	tokens double precision NOT NULL DEFAULT 0,
	tokens_at timestamp with time zone,
	last_event_at timestamp with time zone,
	heard_at timestamp with time zone,
	handed_over_at timestamp with time zone,
	verdicts integer NOT NULL DEFAULT 0,
	verdict text COLLATE "C" NOT NULL DEFAULT ''::text,
	verdict_source text COLLATE "C" NOT NULL DEFAULT ''::text,
	verdict_time bigint NOT NULL DEFAULT 0,
	CONSTRAINT exam_attempt_pkey PRIMARY KEY (attempt_id),
	CONSTRAINT exam_attempt_attempt FOREIGN KEY (attempt_id) REFERENCES attempt(id),
	CONSTRAINT exam_attempt_verdict CHECK ((verdict = ANY (ARRAY[''::text, 'clear'::text, 'suspicious'::text, 'violation'::text])))
) WITH (fillfactor=70);
CREATE INDEX exam_attempt_of ON exam_attempt USING btree (item_id);
COMMENT ON TABLE exam_attempt IS 'What staff watch of an attempt besides the attempt itself: how many events were noted, when its student was heard last, what a proctor thinks. Personal data of the account. Kept with the attempt.';
COMMENT ON COLUMN exam_attempt.events IS 'How many events were noted in all, also those that are deleted by now: the number of the last.';
COMMENT ON COLUMN exam_attempt.reported IS 'How many of them clients have reported, which is bounded.';
COMMENT ON COLUMN exam_attempt.dropped IS 'How many that clients reported were not kept because there were too many.';
COMMENT ON COLUMN exam_attempt.tokens IS 'How many more clients may report at once, as it was at tokens_at.';
COMMENT ON COLUMN exam_attempt.heard_at IS 'When a connection of its student was there last, of those that have ended.';
COMMENT ON COLUMN exam_attempt.handed_over_at IS 'When its student was sent to the proctoring service first.';
COMMENT ON COLUMN exam_attempt.verdict IS 'The one that holds: that of staff, or of the service the newest.';
COMMENT ON COLUMN exam_attempt.verdict_time IS 'The time that the service has signed with the newest verdict, in seconds since 1970.';

CREATE TABLE exam_connection (
	attempt_id text COLLATE "C" NOT NULL,
	process_id text COLLATE "C" NOT NULL,
	since timestamp with time zone NOT NULL,
	CONSTRAINT exam_connection_pkey PRIMARY KEY (attempt_id, process_id),
	CONSTRAINT exam_connection_edge FOREIGN KEY (process_id) REFERENCES exam_edge(process_id)
);
CREATE INDEX exam_connection_of ON exam_connection USING btree (process_id);
COMMENT ON TABLE exam_connection IS 'Which process of the edge holds a connection for which attempt. It counts as long as the lease of the process. Gone with the connection. Personal data by its attempt: that its student is connected.';

CREATE TABLE exam_edge (
	process_id text COLLATE "C" NOT NULL,
	seen_at timestamp with time zone NOT NULL,
	CONSTRAINT exam_edge_pkey PRIMARY KEY (process_id)
);
COMMENT ON TABLE exam_edge IS 'The processes of the edge that hold connections of students, and when each was heard last: its lease. Gone a while after it ends. No personal data.';

CREATE TABLE exam_event (
	attempt_id text COLLATE "C" NOT NULL,
	number integer NOT NULL,
	course_id text COLLATE "C" NOT NULL,
	item_id text COLLATE "C" NOT NULL,
	source text COLLATE "C" NOT NULL,
	kind text COLLATE "C" NOT NULL,
	client_id text COLLATE "C" NOT NULL DEFAULT ''::text,
	client_seq bigint NOT NULL DEFAULT 0,
	slot integer NOT NULL DEFAULT 0,
	duration_ms integer NOT NULL DEFAULT 0,
	size integer NOT NULL DEFAULT 0,
	detail text NOT NULL DEFAULT ''::text,
	happened_at timestamp with time zone,
	noted_at timestamp with time zone NOT NULL,
	CONSTRAINT exam_event_pkey PRIMARY KEY (attempt_id, number),
	CONSTRAINT exam_event_attempt FOREIGN KEY (attempt_id) REFERENCES attempt(id),
	CONSTRAINT exam_event_source CHECK ((source = ANY (ARRAY['client'::text, 'server'::text, 'service'::text])))
);
CREATE INDEX exam_event_noted ON exam_event USING btree (noted_at);
CREATE INDEX exam_event_of ON exam_event USING btree (item_id, noted_at DESC, attempt_id DESC, number DESC);
CREATE UNIQUE INDEX exam_event_once ON exam_event USING btree (attempt_id, source, client_id, client_seq) WHERE (source <> 'server'::text);
CREATE OR REPLACE FUNCTION never_changes()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
	RAISE EXCEPTION 'what was noted is never changed: %', TG_TABLE_NAME;
END $function$;
CREATE TRIGGER exam_event_never_changes BEFORE UPDATE OR TRUNCATE ON exam_event FOR EACH STATEMENT EXECUTE FUNCTION never_changes();
COMMENT ON TABLE exam_event IS 'What was noted while attempts ran: by the student''s client, by the server, by a proctoring service. Never changed. Personal data of the account whose attempt it is: what it did while it took an exam. Deleted 365 days after it was noted.';
COMMENT ON COLUMN exam_event.client_id IS 'Of a client what it calls itself; of a service the id of its report.';
COMMENT ON COLUMN exam_event.happened_at IS 'When, by the clock of who reported it; null where that is not said.';

CREATE TABLE exam_grant (
	action_id text COLLATE "C" NOT NULL,
	attempt_id text COLLATE "C" NOT NULL,
	seconds integer NOT NULL,
	taken interval NOT NULL DEFAULT '00:00:00'::interval,
	CONSTRAINT exam_grant_pkey PRIMARY KEY (action_id, attempt_id),
	CONSTRAINT exam_grant_action FOREIGN KEY (action_id) REFERENCES exam_action(id),
	CONSTRAINT exam_grant_attempt FOREIGN KEY (attempt_id) REFERENCES attempt(id)
);
COMMENT ON TABLE exam_grant IS 'The time that each attempt was given by an action. No personal data but by its attempt. Kept with the attempt.';
COMMENT ON COLUMN exam_grant.taken IS 'What of it was taken back.';

CREATE TABLE exam_report (
	attempt_id text COLLATE "C" NOT NULL,
	report_id text COLLATE "C" NOT NULL,
	received_at timestamp with time zone NOT NULL,
	CONSTRAINT exam_report_pkey PRIMARY KEY (attempt_id, report_id),
	CONSTRAINT exam_report_attempt FOREIGN KEY (attempt_id) REFERENCES attempt(id)
);
COMMENT ON TABLE exam_report IS 'The reports of a proctoring service that were taken, so that each counts once. No personal data but by its attempt. Kept with the attempt.';

CREATE TABLE exam_student (
	item_id text COLLATE "C" NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	course_id text COLLATE "C" NOT NULL,
	waiting_since timestamp with time zone,
	admitted_by text COLLATE "C" NOT NULL DEFAULT ''::text,
	admitted_at timestamp with time zone,
	excused_by text COLLATE "C" NOT NULL DEFAULT ''::text,
	excused_at timestamp with time zone,
	excuse text NOT NULL DEFAULT ''::text,
	refusals integer NOT NULL DEFAULT 0,
	CONSTRAINT exam_student_pkey PRIMARY KEY (item_id, account_id)
);
COMMENT ON TABLE exam_student IS 'Who waits to be let into an exam, was let in, or may take it without the lock-down browser, and why. Personal data of the account, and of the accounts of staff that decided: their ids and words. Kept as long as the course.';
COMMENT ON COLUMN exam_student.refusals IS 'How often the student was refused at the door because no lock-down browser asked, once a minute at most.';

CREATE TABLE exam_verdict (
	attempt_id text COLLATE "C" NOT NULL,
	number integer NOT NULL,
	source text COLLATE "C" NOT NULL,
	report_id text COLLATE "C" NOT NULL DEFAULT ''::text,
	verdict text COLLATE "C" NOT NULL,
	body text NOT NULL,
	url text NOT NULL DEFAULT ''::text,
	withheld boolean NOT NULL,
	account_id text COLLATE "C" NOT NULL DEFAULT ''::text,
	created_at timestamp with time zone NOT NULL,
	CONSTRAINT exam_verdict_pkey PRIMARY KEY (attempt_id, number),
	CONSTRAINT exam_verdict_attempt FOREIGN KEY (attempt_id) REFERENCES attempt(id)
);
CREATE OR REPLACE FUNCTION never_changes()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
	RAISE EXCEPTION 'what was noted is never changed: %', TG_TABLE_NAME;
END $function$;
CREATE TRIGGER exam_verdict_never_changes BEFORE DELETE OR UPDATE OR TRUNCATE ON exam_verdict FOR EACH STATEMENT EXECUTE FUNCTION never_changes();
COMMENT ON TABLE exam_verdict IS 'What a proctoring service and staff thought of attempts, one after the other; the newest of staff holds, or of the service. Never changed. Personal data of the account whose attempt it is, and of that of who decided. Kept with the attempt.';
COMMENT ON COLUMN exam_verdict.withheld IS 'Whether the grade waited after it.';

CREATE TABLE given_mark (
	submission_id text COLLATE "C" NOT NULL,
	number integer NOT NULL,
	seq integer NOT NULL,
	part integer NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	points text COLLATE "C",
	comment text NOT NULL,
	comments bytea,
	rubric bytea,
	reason text NOT NULL DEFAULT ''::text,
	given_at timestamp with time zone NOT NULL,
	CONSTRAINT given_mark_pkey PRIMARY KEY (submission_id, number, seq),
	CONSTRAINT given_mark_version FOREIGN KEY (submission_id, number) REFERENCES submission_version(submission_id, number),
	CONSTRAINT given_mark_part CHECK ((part = ANY (ARRAY[1, 2, 3])))
);
CREATE INDEX given_mark_of ON given_mark USING btree (submission_id, number, part, seq);
CREATE OR REPLACE FUNCTION only_grows()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
	RAISE EXCEPTION 'the log of answers only grows: %', TG_TABLE_NAME;
END $function$;
CREATE TRIGGER given_mark_only_grows BEFORE DELETE OR UPDATE OR TRUNCATE ON given_mark FOR EACH STATEMENT EXECUTE FUNCTION only_grows();
COMMENT ON TABLE given_mark IS 'Marks of versions from which the mark that counts is made: by each of two, what was agreed, and what the staff gives where reviews by students count too. Appended to and never changed. Personal data of those who handed it in (what is said of their work) and of who marked it. Kept with the submission.';
COMMENT ON COLUMN given_mark.part IS '1 and 2: of the markers of these numbers. 3: what the staff gives in the end.';
COMMENT ON COLUMN given_mark.points IS 'An exact number of the points of the version; null for none, in part 3 alone.';
COMMENT ON COLUMN given_mark.comments IS 'As in submission_mark, and rubric too.';
COMMENT ON COLUMN given_mark.reason IS 'Of part 3: why, where it was settled by somebody.';

CREATE TABLE given_marker (
	submission_id text COLLATE "C" NOT NULL,
	number integer NOT NULL,
	part integer NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	CONSTRAINT given_marker_pkey PRIMARY KEY (submission_id, number, part),
	CONSTRAINT given_marker_one UNIQUE (submission_id, number, account_id),
	CONSTRAINT given_marker_version FOREIGN KEY (submission_id, number) REFERENCES submission_version(submission_id, number),
	CONSTRAINT given_marker_part CHECK ((part = ANY (ARRAY[1, 2])))
);
COMMENT ON TABLE given_marker IS 'The two who mark a version that is marked twice: nobody is both. Personal data of the accounts that mark: their ids. Kept with the submission.';

CREATE TABLE group_member (
	group_id text COLLATE "C" NOT NULL,
	course_id text COLLATE "C" NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	member boolean NOT NULL,
	version bigint NOT NULL,
	CONSTRAINT group_member_pkey PRIMARY KEY (group_id, account_id)
);
CREATE INDEX group_member_of ON group_member USING btree (course_id, account_id) WHERE member;
COMMENT ON TABLE group_member IS 'Who is in the groups of courses, as the service access told it. Personal data of the account: that it is in a group, or was. Kept as long as the course.';

CREATE TABLE lockdown_key (
	id text COLLATE "C" NOT NULL,
	quiz_id text COLLATE "C" NOT NULL,
	scheme text COLLATE "C" NOT NULL,
	label text NOT NULL,
	sealed bytea NOT NULL,
	created_by text COLLATE "C" NOT NULL,
	created_at timestamp with time zone NOT NULL,
	CONSTRAINT lockdown_key_pkey PRIMARY KEY (id),
	CONSTRAINT lockdown_key_quiz FOREIGN KEY (quiz_id) REFERENCES quiz(id),
	CONSTRAINT lockdown_key_scheme CHECK ((scheme = ANY (ARRAY['seb_config'::text, 'seb_browser'::text, 'hmac'::text])))
);
CREATE INDEX lockdown_key_of ON lockdown_key USING btree (quiz_id, id);
COMMENT ON TABLE lockdown_key IS 'The keys by which a quiz knows a lock-down browser. Personal data of the account that added one: its id. Kept until it is deleted, at most as long as the quiz.';
COMMENT ON COLUMN lockdown_key.sealed IS 'The key, sealed; it is never shown again.';

CREATE TABLE marking_claim (
	target_id text COLLATE "C" NOT NULL,
	slot integer NOT NULL,
	part integer NOT NULL DEFAULT 1,
	course_id text COLLATE "C" NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	expires_at timestamp with time zone NOT NULL,
	CONSTRAINT marking_claim_pkey PRIMARY KEY (target_id, slot, part),
	CONSTRAINT marking_claim_one UNIQUE (course_id, account_id),
	CONSTRAINT marking_claim_part CHECK ((part = ANY (ARRAY[1, 2])))
);
COMMENT ON TABLE marking_claim IS 'Who marks which answer or submission now. Gone once it is marked or given back; what has run out is there until another grader takes it. Personal data of the account that marks: its id.';
COMMENT ON COLUMN marking_claim.target_id IS 'An attempt, or a submission.';
COMMENT ON COLUMN marking_claim.slot IS 'The question of the attempt; 0 of a submission.';
COMMENT ON COLUMN marking_claim.part IS '1, or 2 where two mark it.';

CREATE TABLE peer_override (
	submission_id text COLLATE "C" NOT NULL,
	seq integer NOT NULL,
	points text COLLATE "C",
	reason text NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	given_at timestamp with time zone NOT NULL,
	CONSTRAINT peer_override_pkey PRIMARY KEY (submission_id, seq),
	CONSTRAINT peer_override_submission FOREIGN KEY (submission_id) REFERENCES submission(id)
);
CREATE OR REPLACE FUNCTION only_grows()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
	RAISE EXCEPTION 'the log of answers only grows: %', TG_TABLE_NAME;
END $function$;
CREATE TRIGGER peer_override_only_grows BEFORE DELETE OR UPDATE OR TRUNCATE ON peer_override FOR EACH STATEMENT EXECUTE FUNCTION only_grows();
COMMENT ON TABLE peer_override IS 'What the staff has set in place of what reviews give, the newest holds; null points for what they give. Personal data of those whose work it is, and of who set it. Kept with the submission.';

CREATE TABLE peer_review (
	id text COLLATE "C" NOT NULL,
	course_id text COLLATE "C" NOT NULL,
	item_id text COLLATE "C" NOT NULL,
	assignment_id text COLLATE "C" NOT NULL,
	submission_id text COLLATE "C" NOT NULL,
	number integer NOT NULL DEFAULT 0,
	reviewer_id text COLLATE "C" NOT NULL,
	state text COLLATE "C" NOT NULL DEFAULT 'allotted'::text,
	revision bigint NOT NULL DEFAULT 1,
	points text COLLATE "C",
	content bytea,
	excluded boolean NOT NULL DEFAULT false,
	excluded_reason text NOT NULL DEFAULT ''::text,
	allotted_at timestamp with time zone NOT NULL,
	saved_at timestamp with time zone,
	submitted_at timestamp with time zone,
	taken boolean NOT NULL DEFAULT false,
	CONSTRAINT peer_review_pkey PRIMARY KEY (id),
	CONSTRAINT peer_review_one UNIQUE (submission_id, reviewer_id),
	CONSTRAINT peer_review_submission FOREIGN KEY (submission_id) REFERENCES submission(id),
	CONSTRAINT peer_review_state CHECK ((state = ANY (ARRAY['allotted'::text, 'begun'::text, 'done'::text, 'lost'::text, 'freed'::text])))
);
CREATE INDEX peer_review_at ON peer_review USING btree (item_id, assignment_id, id);
CREATE INDEX peer_review_by ON peer_review USING btree (item_id, reviewer_id, id);
COMMENT ON TABLE peer_review IS 'Who reviews whose work, and what they say of it. Personal data of those who review and of those whose work it is. Kept with the submission.';
COMMENT ON COLUMN peer_review.number IS 'The version that is reviewed; 0 until it is begun.';
COMMENT ON COLUMN peer_review.state IS 'allotted, begun and done; lost: not begun in time, others have it; freed: there is nothing to review any more, or it was given to who handed in later.';
COMMENT ON COLUMN peer_review.points IS 'An exact number of the points of the version; null while it is not done, and where none are given.';
COMMENT ON COLUMN peer_review.content IS 'The stoa.assessment.v1.PeerReviewContent, in binary form; null while it is not begun.';
COMMENT ON COLUMN peer_review.taken IS 'Where it is lost: whether staff have taken it, by its name, from somebody who has begun others. It is not theirs to do any more.';

CREATE TABLE peer_round (
	course_id text COLLATE "C" NOT NULL,
	item_id text COLLATE "C" NOT NULL,
	assignment_id text COLLATE "C" NOT NULL,
	reviews integer NOT NULL,
	seed bigint NOT NULL,
	revision bigint NOT NULL DEFAULT 1,
	opened_at timestamp with time zone NOT NULL,
	begin_by timestamp with time zone,
	closes_at timestamp with time zone NOT NULL,
	closed_at timestamp with time zone,
	released_at timestamp with time zone,
	marked_to text COLLATE "C" NOT NULL DEFAULT ''::text,
	marked_at timestamp with time zone,
	edited_by text COLLATE "C" NOT NULL DEFAULT ''::text,
	edited_at timestamp with time zone NOT NULL,
	CONSTRAINT peer_round_pkey PRIMARY KEY (item_id, assignment_id)
);
CREATE INDEX peer_round_begin ON peer_round USING btree (begin_by) WHERE ((begin_by IS NOT NULL) AND (closed_at IS NULL));
CREATE INDEX peer_round_close ON peer_round USING btree (closes_at) WHERE (closed_at IS NULL);
CREATE INDEX peer_round_mark ON peer_round USING btree (closed_at) WHERE ((closed_at IS NOT NULL) AND (marked_at IS NULL));
COMMENT ON TABLE peer_round IS 'That students review each other''s work at an item, and when. Personal data of the account that changed it last: its id. Kept as long as the course.';
COMMENT ON COLUMN peer_round.seed IS 'What the allocation comes of, together with what was handed in.';
COMMENT ON COLUMN peer_round.begin_by IS 'When those who have not begun a review lose it to others; null for never, and once that was done.';
COMMENT ON COLUMN peer_round.released_at IS 'When reviews were shown to authors before its end.';
COMMENT ON COLUMN peer_round.marked_to IS 'The submission up to which marks have followed its end, and marked_at when all had.';

CREATE TABLE person (
	account_id text COLLATE "C" NOT NULL,
	name text NOT NULL,
	version bigint NOT NULL,
	CONSTRAINT person_pkey PRIMARY KEY (account_id)
);
COMMENT ON TABLE person IS 'What people are called, as the service identity told it, for those who read what they hand in. Personal data of the account: its name. Kept as long as the account.';

CREATE TABLE placement (
	course_id text COLLATE "C" NOT NULL,
	item_id text COLLATE "C" NOT NULL,
	ref text COLLATE "C" NOT NULL,
	kind text COLLATE "C" NOT NULL,
	title text NOT NULL,
	schedule bytea,
	sequence bigint NOT NULL,
	present boolean NOT NULL,
	opens_at timestamp with time zone,
	salt bytea NOT NULL DEFAULT (uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())),
	due_at timestamp with time zone,
	CONSTRAINT placement_pkey PRIMARY KEY (course_id, item_id)
);
CREATE INDEX placement_opening ON placement USING btree (opens_at) WHERE (present AND (kind = 'quiz'::text) AND (ref <> ''::text));
CREATE INDEX placement_ref ON placement USING btree (ref) WHERE (ref <> ''::text);
COMMENT ON TABLE placement IS 'Where in the published versions of courses quizzes and assignments stand, as the service courses told it. No personal data.';
COMMENT ON COLUMN placement.ref IS 'The quiz or assignment; empty where the course names none.';
COMMENT ON COLUMN placement.sequence IS 'Of the CoursePublished that said it.';
COMMENT ON COLUMN placement.present IS 'Whether the version published last has it. Who is bound to an earlier one has it still.';
COMMENT ON COLUMN placement.opens_at IS 'From when on the schedule lets everybody work on it; null where it names no such moment.';
COMMENT ON COLUMN placement.salt IS 'What pseudonyms at the item are made with, so that they are the same each time and tell nothing.';
COMMENT ON COLUMN placement.due_at IS 'When the course says that it is due, for those for whom nothing else is said; null for never, or for a number of days.';

CREATE TABLE posting (
	course_id text COLLATE "C" NOT NULL,
	item_id text COLLATE "C" NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	policy text COLLATE "C" NOT NULL,
	posted boolean NOT NULL,
	version bigint NOT NULL,
	CONSTRAINT posting_pkey PRIMARY KEY (course_id, item_id, account_id)
);
COMMENT ON TABLE posting IS 'Whether students may see their grades in an item, as the gradebook told it; where nothing is here they may. Personal data of the account: that its grade is posted or not. Kept as long as the course.';
COMMENT ON COLUMN posting.account_id IS 'For whom; empty for all who were never named.';
COMMENT ON COLUMN posting.version IS 'Of the PostingChanged that said it.';

CREATE TABLE question (
	id text COLLATE "C" NOT NULL,
	course_id text COLLATE "C" NOT NULL,
	version integer NOT NULL,
	revision bigint NOT NULL DEFAULT 1,
	created_by text COLLATE "C" NOT NULL,
	created_at timestamp with time zone NOT NULL,
	updated_at timestamp with time zone NOT NULL,
	deleted_at timestamp with time zone,
	category_id text COLLATE "C",
	tags text[] NOT NULL DEFAULT '{}'::text[],
	tag_words text NOT NULL DEFAULT ''::text,
	marks text[] NOT NULL DEFAULT '{}'::text[],
	content_words tsvector NOT NULL DEFAULT ''::tsvector,
	words tsvector NOT NULL GENERATED ALWAYS AS (((content_words || setweight(to_tsvector('simple'::regconfig, tag_words), 'B'::"char")) || array_to_tsvector(((marks || ('='::text || course_id)) || ('/'::text || COALESCE(category_id, ''::text)))))) STORED,
	CONSTRAINT question_pkey PRIMARY KEY (id),
	CONSTRAINT question_category FOREIGN KEY (category_id) REFERENCES question_category(id)
);
CREATE INDEX question_in_category ON question USING btree (category_id, id DESC) WHERE (deleted_at IS NULL);
CREATE INDEX question_newest ON question USING btree (course_id, id DESC) WHERE (deleted_at IS NULL);
CREATE INDEX question_words ON question USING gin (words) WITH (fastupdate=off) WHERE (deleted_at IS NULL);
COMMENT ON TABLE question IS 'The questions of a course''s bank; what each asks is in its versions. Personal data of the account that made it: its id. Kept as long as the course.';
COMMENT ON COLUMN question.version IS 'The version that is current.';
COMMENT ON COLUMN question.deleted_at IS 'When it was taken out of the bank. Attempts that have it keep it.';
COMMENT ON COLUMN question.category_id IS 'Its category; null at the top of the bank.';
COMMENT ON COLUMN question.tags IS 'In lower case, sorted.';
COMMENT ON COLUMN question.tag_words IS 'The tags as text, because what a generated column calls must not depend on settings.';
COMMENT ON COLUMN question.marks IS 'Its kind and its tags as words that no text has, so that the one index on words answers for them too.';
COMMENT ON COLUMN question.content_words IS 'The words of its current version, at most the first 64 KiB of it.';
COMMENT ON COLUMN question.words IS 'All that it is found by: words, tags, and as words that no text has its kind, its bank and its category.';

CREATE TABLE question_category (
	id text COLLATE "C" NOT NULL,
	course_id text COLLATE "C" NOT NULL,
	parent_id text COLLATE "C",
	name text NOT NULL,
	revision bigint NOT NULL DEFAULT 1,
	created_at timestamp with time zone NOT NULL,
	CONSTRAINT question_category_pkey PRIMARY KEY (id),
	CONSTRAINT question_category_parent FOREIGN KEY (parent_id) REFERENCES question_category(id)
);
CREATE INDEX question_category_in ON question_category USING btree (parent_id);
CREATE UNIQUE INDEX question_category_name ON question_category USING btree (course_id, COALESCE(parent_id, ''::text), lower(name));
COMMENT ON TABLE question_category IS 'The places for questions in the banks of courses. No personal data.';
COMMENT ON COLUMN question_category.parent_id IS 'The category it is in; null at the top.';

CREATE TABLE question_version (
	question_id text COLLATE "C" NOT NULL,
	version integer NOT NULL,
	kind text COLLATE "C" NOT NULL,
	title text NOT NULL,
	body bytea NOT NULL,
	hash bytea NOT NULL,
	created_by text COLLATE "C" NOT NULL,
	created_at timestamp with time zone NOT NULL,
	CONSTRAINT question_version_pkey PRIMARY KEY (question_id, version),
	CONSTRAINT question_version_question FOREIGN KEY (question_id) REFERENCES question(id)
);
COMMENT ON TABLE question_version IS 'What a question asked and how it was scored at a time. Never changed. Personal data of the account that wrote it: its id. Kept as long as the question.';
COMMENT ON COLUMN question_version.body IS 'The stoa.question.v1.Question, in the binary form of Protocol Buffers.';
COMMENT ON COLUMN question_version.hash IS 'The SHA-256 of its canonical form.';

CREATE TABLE quiz (
	id text COLLATE "C" NOT NULL,
	course_id text COLLATE "C" NOT NULL,
	title text NOT NULL,
	draft bytea NOT NULL,
	revision bigint NOT NULL DEFAULT 1,
	version integer NOT NULL DEFAULT 0,
	created_by text COLLATE "C" NOT NULL,
	created_at timestamp with time zone NOT NULL,
	updated_at timestamp with time zone NOT NULL,
	deleted_at timestamp with time zone,
	password_hash text COLLATE "C" NOT NULL DEFAULT ''::text,
	question_count integer NOT NULL DEFAULT 0,
	published_revision bigint NOT NULL DEFAULT 0,
	edited_by text COLLATE "C" NOT NULL DEFAULT ''::text,
	edited_at timestamp with time zone,
	copied_from text COLLATE "C" NOT NULL DEFAULT ''::text,
	pseudonym_key uuid NOT NULL DEFAULT gen_random_uuid(),
	CONSTRAINT quiz_pkey PRIMARY KEY (id)
);
CREATE INDEX quiz_of_course ON quiz USING btree (course_id, id) WHERE (deleted_at IS NULL);
COMMENT ON TABLE quiz IS 'The quizzes and exams of courses, as their authors are changing them. Personal data of the accounts that made one and changed it last: their ids. Kept as long as the course.';
COMMENT ON COLUMN quiz.draft IS 'The stoa.assessment.v1.QuizSettings that are edited, in binary form.';
COMMENT ON COLUMN quiz.version IS 'The version that is taken now; 0 while there is none.';
COMMENT ON COLUMN quiz.password_hash IS 'Of the password to begin with, by argon2id; empty for none. It is of no account.';
COMMENT ON COLUMN quiz.question_count IS 'How many questions an attempt at the draft has.';
COMMENT ON COLUMN quiz.published_revision IS 'The revision that was published last.';
COMMENT ON COLUMN quiz.copied_from IS 'The quiz that it was made of; empty for none.';
COMMENT ON COLUMN quiz.pseudonym_key IS 'What the pseudonyms come of under which its answers are marked. It is told to nobody.';

CREATE TABLE quiz_category (
	quiz_id text COLLATE "C" NOT NULL,
	category_id text COLLATE "C" NOT NULL,
	CONSTRAINT quiz_category_pkey PRIMARY KEY (quiz_id, category_id),
	CONSTRAINT quiz_category_category FOREIGN KEY (category_id) REFERENCES question_category(id),
	CONSTRAINT quiz_category_quiz FOREIGN KEY (quiz_id) REFERENCES quiz(id)
);
CREATE INDEX quiz_category_drawn ON quiz_category USING btree (category_id);
COMMENT ON TABLE quiz_category IS 'Which quizzes'' drafts draw from which categories. Written with the drafts. No personal data.';

CREATE TABLE quiz_copy (
	quiz_id text COLLATE "C" NOT NULL,
	course_id text COLLATE "C" NOT NULL,
	from_quiz_id text COLLATE "C" NOT NULL,
	from_course_id text COLLATE "C" NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	retry_at timestamp with time zone NOT NULL,
	CONSTRAINT quiz_copy_pkey PRIMARY KEY (quiz_id)
);
CREATE INDEX quiz_copy_due ON quiz_copy USING btree (retry_at);
COMMENT ON TABLE quiz_copy IS 'Quizzes that are to be made of others because a course was copied. Gone once they are. Personal data of the account that copied: its id.';

CREATE TABLE quiz_due (
	course_id text COLLATE "C" NOT NULL,
	item_id text COLLATE "C" NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	queued bigint NOT NULL GENERATED BY DEFAULT AS IDENTITY,
	CONSTRAINT quiz_due_pkey PRIMARY KEY (course_id, item_id, account_id)
);
CREATE INDEX quiz_due_queued ON quiz_due USING btree (queued);
COMMENT ON TABLE quiz_due IS 'Whose due dates have changed at a quiz that they have handed in, until they were asked for. Personal data: the id of the account.';

CREATE TABLE quiz_mark (
	course_id text COLLATE "C" NOT NULL,
	item_id text COLLATE "C" NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	quiz_id text COLLATE "C" NOT NULL DEFAULT ''::text,
	quiz_version integer NOT NULL DEFAULT 0,
	state text COLLATE "C" NOT NULL DEFAULT 'none'::text,
	source_id text COLLATE "C" NOT NULL DEFAULT ''::text,
	points text COLLATE "C" NOT NULL DEFAULT ''::text,
	max_points text COLLATE "C" NOT NULL DEFAULT ''::text,
	submitted_at timestamp with time zone,
	late_seconds bigint NOT NULL DEFAULT 0,
	attempts integer NOT NULL DEFAULT 0,
	version bigint NOT NULL DEFAULT 0,
	first_submitted_at timestamp with time zone,
	result_version bigint NOT NULL DEFAULT 0,
	others jsonb,
	CONSTRAINT quiz_mark_pkey PRIMARY KEY (course_id, item_id, account_id),
	CONSTRAINT quiz_mark_state CHECK ((state = ANY (ARRAY['none'::text, 'submitted'::text, 'marked'::text])))
);
CREATE INDEX quiz_mark_of ON quiz_mark USING btree (quiz_id, quiz_version);
COMMENT ON TABLE quiz_mark IS 'What counts of the attempts of somebody at an item, as the gradebook was told last. Personal data of the account: its mark. Kept as grades of record as long as the course.';
COMMENT ON COLUMN quiz_mark.quiz_version IS 'The version whose settings made it.';
COMMENT ON COLUMN quiz_mark.points IS 'A decimal of at most 6 places; empty where nothing is marked.';
COMMENT ON COLUMN quiz_mark.version IS 'Of the MarkChanged that told it.';
COMMENT ON COLUMN quiz_mark.result_version IS 'Of the ActivityResultChanged that told first_submitted_at.';
COMMENT ON COLUMN quiz_mark.others IS 'The attempts that could count in place of the one that is told, as list, and the version of the mark that told them; null for none.';

CREATE TABLE quiz_preparation (
	course_id text COLLATE "C" NOT NULL,
	item_id text COLLATE "C" NOT NULL,
	opens_at timestamp with time zone NOT NULL,
	next_at timestamp with time zone NOT NULL,
	after_id text COLLATE "C" NOT NULL DEFAULT ''::text,
	own boolean NOT NULL DEFAULT false,
	CONSTRAINT quiz_preparation_pkey PRIMARY KEY (course_id, item_id)
);
CREATE INDEX quiz_preparation_next ON quiz_preparation USING btree (next_at);
COMMENT ON TABLE quiz_preparation IS 'The quizzes whose window opens soon, for which attempts are made ahead. No personal data.';
COMMENT ON COLUMN quiz_preparation.next_at IS 'When the next of those enrolled are looked at. Who works on it moves it on, so that it comes again if they die.';
COMMENT ON COLUMN quiz_preparation.after_id IS 'The last account that was looked at in this round; empty at its beginning.';
COMMENT ON COLUMN quiz_preparation.own IS 'Whether it opens soon for some alone, who have a window of their own: learning is asked for whom. Else all those enrolled are looked at.';

CREATE TABLE quiz_preview (
	quiz_id text COLLATE "C" NOT NULL,
	version integer NOT NULL GENERATED BY DEFAULT AS IDENTITY,
	title text NOT NULL,
	settings bytea NOT NULL,
	CONSTRAINT quiz_preview_pkey PRIMARY KEY (quiz_id, version),
	CONSTRAINT quiz_preview_quiz FOREIGN KEY (quiz_id) REFERENCES quiz(id)
);
COMMENT ON TABLE quiz_preview IS 'What drafts of quizzes were when staff began to try them, as quiz_version has what was published; numbers are below 0. Gone with the preview. No personal data.';

CREATE TABLE quiz_question (
	quiz_id text COLLATE "C" NOT NULL,
	question_id text COLLATE "C" NOT NULL,
	draft boolean NOT NULL,
	published_version integer NOT NULL,
	CONSTRAINT quiz_question_pkey PRIMARY KEY (quiz_id, question_id),
	CONSTRAINT quiz_question_question FOREIGN KEY (question_id) REFERENCES question(id),
	CONSTRAINT quiz_question_quiz FOREIGN KEY (quiz_id) REFERENCES quiz(id)
);
CREATE INDEX quiz_question_used ON quiz_question USING btree (question_id);
COMMENT ON TABLE quiz_question IS 'Which quizzes use which questions. Follows from their drafts and their published versions, and is written with them. No personal data.';
COMMENT ON COLUMN quiz_question.draft IS 'Whether the draft names it.';
COMMENT ON COLUMN quiz_question.published_version IS 'The version of the question that the published version asks or may draw; 0 for none.';

CREATE TABLE quiz_remark (
	quiz_id text COLLATE "C" NOT NULL,
	CONSTRAINT quiz_remark_pkey PRIMARY KEY (quiz_id)
);
COMMENT ON TABLE quiz_remark IS 'Quizzes that were published anew, whose marks follow. Gone once they have. No personal data.';

CREATE TABLE quiz_version (
	quiz_id text COLLATE "C" NOT NULL,
	version integer NOT NULL,
	settings bytea NOT NULL,
	message text NOT NULL DEFAULT ''::text,
	created_by text COLLATE "C" NOT NULL,
	created_at timestamp with time zone NOT NULL,
	title text NOT NULL DEFAULT ''::text,
	CONSTRAINT quiz_version_pkey PRIMARY KEY (quiz_id, version),
	CONSTRAINT quiz_version_quiz FOREIGN KEY (quiz_id) REFERENCES quiz(id)
);
COMMENT ON TABLE quiz_version IS 'What of a quiz was published, never changed: attempts name one. Its slots name exact versions of questions. Personal data of the account that published it: its id. Kept as long as the quiz.';
COMMENT ON COLUMN quiz_version.settings IS 'The stoa.assessment.v1.QuizSettings, in binary form.';

CREATE TABLE receipt (
	id text COLLATE "C" NOT NULL,
	attempt_id text COLLATE "C" NOT NULL,
	number integer NOT NULL,
	submitted_at timestamp with time zone NOT NULL,
	submitted_by text COLLATE "C" NOT NULL,
	operations integer NOT NULL,
	last_seq bigint NOT NULL,
	header text NOT NULL,
	sha256 bytea NOT NULL,
	key_id text COLLATE "C" NOT NULL,
	signature bytea NOT NULL,
	created_at timestamp with time zone NOT NULL,
	CONSTRAINT receipt_pkey PRIMARY KEY (id),
	CONSTRAINT receipt_number UNIQUE (attempt_id, number),
	CONSTRAINT receipt_attempt FOREIGN KEY (attempt_id) REFERENCES attempt(id)
);
CREATE OR REPLACE FUNCTION only_grows()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
	RAISE EXCEPTION 'the log of answers only grows: %', TG_TABLE_NAME;
END $function$;
CREATE TRIGGER receipt_only_grows BEFORE DELETE OR UPDATE OR TRUNCATE ON receipt FOR EACH STATEMENT EXECUTE FUNCTION only_grows();
COMMENT ON TABLE receipt IS 'What students were given when an attempt was submitted: the hash of the operations that count, signed. Appended to and never changed. Personal data of the account whose attempt it is: its id in the header. Kept with the attempt.';
COMMENT ON COLUMN receipt.header IS 'The first line of the canonical form, as docs/answers.md says.';
COMMENT ON COLUMN receipt.key_id IS 'The key of the signature; empty where there was none.';

CREATE TABLE receipt_key (
	id text COLLATE "C" NOT NULL,
	public_key bytea NOT NULL,
	private_key bytea NOT NULL,
	created_at timestamp with time zone NOT NULL,
	CONSTRAINT receipt_key_pkey PRIMARY KEY (id)
);
COMMENT ON TABLE receipt_key IS 'The Ed25519 keys that receipts are signed with. Public parts are published for ever. No personal data.';
COMMENT ON COLUMN receipt_key.private_key IS 'Its seed, sealed.';

CREATE TABLE rekey (
	id text COLLATE "C" NOT NULL,
	course_id text COLLATE "C" NOT NULL,
	question_id text COLLATE "C" NOT NULL,
	versions integer[] NOT NULL,
	quiz_id text COLLATE "C" NOT NULL DEFAULT ''::text,
	item_id text COLLATE "C" NOT NULL DEFAULT ''::text,
	action text COLLATE "C" NOT NULL,
	key_version integer NOT NULL DEFAULT 0,
	points numeric(20,6),
	undoes text COLLATE "C" NOT NULL DEFAULT ''::text,
	reason text NOT NULL,
	state text COLLATE "C" NOT NULL,
	number bigint NOT NULL DEFAULT 0,
	undone_by text COLLATE "C" NOT NULL DEFAULT ''::text,
	created_by text COLLATE "C" NOT NULL,
	created_at timestamp with time zone NOT NULL,
	applied_by text COLLATE "C" NOT NULL DEFAULT ''::text,
	applied_at timestamp with time zone,
	finished_at timestamp with time zone,
	left_out integer NOT NULL DEFAULT 0,
	attempts integer NOT NULL DEFAULT 0,
	done integer NOT NULL DEFAULT 0,
	up integer NOT NULL DEFAULT 0,
	down integer NOT NULL DEFAULT 0,
	same integer NOT NULL DEFAULT 0,
	untouched integer NOT NULL DEFAULT 0,
	unscored integer NOT NULL DEFAULT 0,
	marks_up integer NOT NULL DEFAULT 0,
	marks_down integer NOT NULL DEFAULT 0,
	marks_same integer NOT NULL DEFAULT 0,
	after text[] NOT NULL DEFAULT '{"","",""}'::text[],
	CONSTRAINT rekey_pkey PRIMARY KEY (id),
	CONSTRAINT rekey_action CHECK ((action = ANY (ARRAY['key'::text, 'full'::text, 'drop'::text, 'points'::text, 'undo'::text]))),
	CONSTRAINT rekey_applied CHECK (((state = ANY (ARRAY['applying'::text, 'applied'::text])) = (applied_at IS NOT NULL))),
	CONSTRAINT rekey_state CHECK ((state = ANY (ARRAY['previewing'::text, 'ready'::text, 'applying'::text, 'applied'::text, 'expired'::text])))
);
CREATE INDEX rekey_in_force ON rekey USING btree (course_id, question_id, number) WHERE ((number > 0) AND (undone_by = ''::text));
CREATE UNIQUE INDEX rekey_number ON rekey USING btree (course_id, question_id, number) WHERE (number > 0);
CREATE INDEX rekey_of ON rekey USING btree (course_id, id DESC);
CREATE UNIQUE INDEX rekey_running ON rekey USING btree (course_id, question_id) WHERE (state = 'applying'::text);
CREATE INDEX rekey_unused ON rekey USING btree (created_at) WHERE (state = 'ready'::text);
CREATE INDEX rekey_working ON rekey USING btree (created_at) WHERE (state = ANY (ARRAY['previewing'::text, 'applying'::text]));
COMMENT ON TABLE rekey IS 'Changes of how a question is scored in attempts that there are: previews, and what was applied, never deleted. Personal data of the accounts that made and applied one: their ids. Kept as long as the course.';
COMMENT ON COLUMN rekey.versions IS 'The versions of the question, as attempts show them, that it is for: all that show the same.';
COMMENT ON COLUMN rekey.quiz_id IS 'The quiz that it is for; empty for all of the course.';
COMMENT ON COLUMN rekey.item_id IS 'The item that it is for; empty for all.';
COMMENT ON COLUMN rekey.action IS 'key: scored by the key of key_version; full: everybody has all points; drop: it is worth nothing; points: it is worth others; undo: what undoes names is in force no more.';
COMMENT ON COLUMN rekey.number IS 'Its place among those of the question that were applied, from 1. Of those in force the later counts.';
COMMENT ON COLUMN rekey.undone_by IS 'The re-key that undid it; empty while it is in force.';
COMMENT ON COLUMN rekey.left_out IS 'How many attempts show a version that shows something else.';
COMMENT ON COLUMN rekey.done IS 'How many attempts were gone through, by the preview or by applying it. The counts below are of these.';
COMMENT ON COLUMN rekey.after IS 'How far it is: the quiz, the item and the account that were gone through last. Personal data of that account: its id.';

CREATE TABLE rekey_attempt (
	rekey_id text COLLATE "C" NOT NULL,
	quiz_id text COLLATE "C" NOT NULL,
	item_id text COLLATE "C" NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	attempt_id text COLLATE "C" NOT NULL,
	slot integer NOT NULL,
	stage smallint NOT NULL DEFAULT 0,
	attempt_state text COLLATE "C" NOT NULL DEFAULT ''::text,
	change text COLLATE "C" NOT NULL DEFAULT ''::text,
	old_key integer NOT NULL DEFAULT 0,
	new_key integer NOT NULL DEFAULT 0,
	old_scoring text COLLATE "C" NOT NULL DEFAULT 'key'::text,
	new_scoring text COLLATE "C" NOT NULL DEFAULT 'key'::text,
	old_max numeric(20,6),
	new_max numeric(20,6),
	old_state text COLLATE "C" NOT NULL DEFAULT ''::text,
	new_state text COLLATE "C" NOT NULL DEFAULT ''::text,
	old_fraction text COLLATE "C",
	new_fraction text COLLATE "C",
	old_points numeric(20,6),
	new_points numeric(20,6),
	old_total numeric(20,6),
	new_total numeric(20,6),
	old_mark text COLLATE "C" NOT NULL DEFAULT ''::text,
	new_mark text COLLATE "C" NOT NULL DEFAULT ''::text,
	mark_max text COLLATE "C" NOT NULL DEFAULT ''::text,
	at timestamp with time zone,
	CONSTRAINT rekey_attempt_pkey PRIMARY KEY (rekey_id, attempt_id),
	CONSTRAINT rekey_attempt_attempt FOREIGN KEY (attempt_id) REFERENCES attempt(id),
	CONSTRAINT rekey_attempt_rekey FOREIGN KEY (rekey_id) REFERENCES rekey(id),
	CONSTRAINT rekey_attempt_stage CHECK (((stage >= 0) AND (stage <= 2)))
);
CREATE INDEX rekey_attempt_change ON rekey_attempt USING btree (rekey_id, change, attempt_id);
CREATE INDEX rekey_attempt_history ON rekey_attempt USING btree (attempt_id) WHERE (stage = 2);
CREATE INDEX rekey_attempt_next ON rekey_attempt USING btree (rekey_id, stage, quiz_id, item_id, account_id, attempt_id) WHERE (stage < 2);
COMMENT ON TABLE rekey_attempt IS 'What a re-key makes, or made, of each attempt: what its student is told, and its history. Personal data of the account whose attempt it is: its points. Those of previews that were not applied are deleted after a week; all others are kept with the attempt.';
COMMENT ON COLUMN rekey_attempt.stage IS '0: to be looked at; 1: looked at, or to be applied; 2: applied, and never changed again.';
COMMENT ON COLUMN rekey_attempt.change IS 'up, down, same: what becomes of the points of the attempt; untouched: people have marked the answer; unscored: it is not scored yet.';
COMMENT ON COLUMN rekey_attempt.old_total IS 'The points of the attempt.';
COMMENT ON COLUMN rekey_attempt.old_mark IS 'What counts of the attempts of the account at the item; empty where nothing does yet.';

CREATE TABLE rubric (
	id text COLLATE "C" NOT NULL,
	course_id text COLLATE "C" NOT NULL,
	title text NOT NULL,
	draft bytea NOT NULL,
	revision bigint NOT NULL DEFAULT 1,
	version integer NOT NULL DEFAULT 0,
	published_revision bigint NOT NULL DEFAULT 0,
	created_by text COLLATE "C" NOT NULL,
	edited_by text COLLATE "C" NOT NULL,
	created_at timestamp with time zone NOT NULL,
	updated_at timestamp with time zone NOT NULL,
	copied_from text COLLATE "C" NOT NULL DEFAULT ''::text,
	copied_version integer NOT NULL DEFAULT 0,
	deleted_at timestamp with time zone,
	CONSTRAINT rubric_pkey PRIMARY KEY (id)
);
CREATE INDEX rubric_copied ON rubric USING btree (course_id, copied_from) WHERE ((copied_from <> ''::text) AND (deleted_at IS NULL));
CREATE INDEX rubric_of_course ON rubric USING btree (course_id, id) WHERE (deleted_at IS NULL);
COMMENT ON TABLE rubric IS 'Rubrics and marking guides, as their authors are changing them. Personal data of the accounts that made one and changed it last: their ids. Kept as long as the course.';
COMMENT ON COLUMN rubric.draft IS 'The stoa.assessment.v1.RubricContent that is edited, in binary form.';
COMMENT ON COLUMN rubric.version IS 'The version that is marked by now; 0 while there is none.';
COMMENT ON COLUMN rubric.copied_from IS 'The rubric of another course that it came of, with a quiz or an assignment, and copied_version the version of that one.';

CREATE TABLE rubric_use (
	target_id text COLLATE "C" NOT NULL,
	question_id text COLLATE "C" NOT NULL DEFAULT ''::text,
	purpose text COLLATE "C" NOT NULL DEFAULT ''::text,
	course_id text COLLATE "C" NOT NULL,
	rubric_id text COLLATE "C" NOT NULL,
	CONSTRAINT rubric_use_pkey PRIMARY KEY (target_id, question_id, purpose),
	CONSTRAINT rubric_use_rubric FOREIGN KEY (rubric_id) REFERENCES rubric(id),
	CONSTRAINT rubric_use_purpose CHECK ((purpose = ANY (ARRAY[''::text, 'peer_review'::text])))
);
CREATE INDEX rubric_use_of ON rubric_use USING btree (rubric_id);
COMMENT ON TABLE rubric_use IS 'What is marked by which rubric. No personal data.';
COMMENT ON COLUMN rubric_use.target_id IS 'A quiz or an assignment.';
COMMENT ON COLUMN rubric_use.question_id IS 'The question of the quiz; empty for an assignment.';
COMMENT ON COLUMN rubric_use.purpose IS 'Empty where staff marks by it; peer_review where students review each other''s work by it.';

CREATE TABLE rubric_version (
	rubric_id text COLLATE "C" NOT NULL,
	version integer NOT NULL,
	title text NOT NULL,
	content bytea NOT NULL,
	created_by text COLLATE "C" NOT NULL,
	created_at timestamp with time zone NOT NULL,
	CONSTRAINT rubric_version_pkey PRIMARY KEY (rubric_id, version),
	CONSTRAINT rubric_version_rubric FOREIGN KEY (rubric_id) REFERENCES rubric(id)
);
COMMENT ON TABLE rubric_version IS 'What of a rubric was published, never changed: marks name one. Personal data of the account that published it: its id. Kept as long as the rubric.';

CREATE TABLE similarity_check (
	id text COLLATE "C" NOT NULL,
	submission_id text COLLATE "C" NOT NULL,
	number integer NOT NULL,
	state text COLLATE "C" NOT NULL DEFAULT 'waiting'::text,
	tries integer NOT NULL DEFAULT 0,
	next_at timestamp with time zone NOT NULL,
	percent numeric(5,2),
	report_url text NOT NULL DEFAULT ''::text,
	problem text COLLATE "C" NOT NULL DEFAULT ''::text,
	requested_at timestamp with time zone NOT NULL,
	requested_by text COLLATE "C" NOT NULL DEFAULT ''::text,
	reported_at timestamp with time zone,
	report_time bigint NOT NULL DEFAULT 0,
	CONSTRAINT similarity_check_pkey PRIMARY KEY (id),
	CONSTRAINT similarity_check_version FOREIGN KEY (submission_id, number) REFERENCES submission_version(submission_id, number),
	CONSTRAINT similarity_check_state CHECK ((state = ANY (ARRAY['waiting'::text, 'sent'::text, 'done'::text, 'failed'::text])))
);
CREATE INDEX similarity_check_next ON similarity_check USING btree (next_at) WHERE (state = ANY (ARRAY['waiting'::text, 'sent'::text]));
CREATE INDEX similarity_check_of ON similarity_check USING btree (submission_id, number, id DESC);
COMMENT ON TABLE similarity_check IS 'What is compared with others'' work, and what was found. Personal data of those whose work it is. Kept with the submission.';
COMMENT ON COLUMN similarity_check.next_at IS 'When it is sent next, or given up waiting for its report. Who works on it moves it on.';

CREATE TABLE staged_activities (
	course_id text COLLATE "C" NOT NULL,
	staged_at timestamp with time zone NOT NULL,
	CONSTRAINT staged_activities_pkey PRIMARY KEY (course_id)
);
COMMENT ON TABLE staged_activities IS 'Courses that are not there yet into which an archive puts quizzes and assignments. Gone once it is known what becomes of them. No personal data.';

CREATE TABLE statistics (
	quiz_id text COLLATE "C" NOT NULL,
	item_id text COLLATE "C" NOT NULL,
	changed_at timestamp with time zone,
	CONSTRAINT statistics_pkey PRIMARY KEY (quiz_id, item_id)
);
COMMENT ON TABLE statistics IS 'The quizzes of items whose attempts are counted. Who counts locks the row. No personal data.';

CREATE TABLE statistics_answer (
	quiz_id text COLLATE "C" NOT NULL,
	item_id text COLLATE "C" NOT NULL,
	question_id text COLLATE "C" NOT NULL,
	version integer NOT NULL,
	part text COLLATE "C" NOT NULL,
	answer text COLLATE "C" NOT NULL,
	class smallint NOT NULL,
	n bigint NOT NULL,
	rest numeric NOT NULL,
	CONSTRAINT statistics_answer_pkey PRIMARY KEY (quiz_id, item_id, question_id, version, part, answer, class)
);
COMMENT ON TABLE statistics_answer IS 'How often each answer to a question was given. No personal data.';
COMMENT ON COLUMN statistics_answer.rest IS 'The sum of the points of all other questions of those who gave it, in millionths.';

CREATE TABLE statistics_attempt (
	attempt_id text COLLATE "C" NOT NULL,
	quiz_id text COLLATE "C" NOT NULL,
	item_id text COLLATE "C" NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	class smallint NOT NULL,
	body bytea NOT NULL,
	CONSTRAINT statistics_attempt_pkey PRIMARY KEY (attempt_id)
);
CREATE INDEX statistics_attempt_of ON statistics_attempt USING btree (quiz_id, item_id, account_id);
COMMENT ON TABLE statistics_attempt IS 'What of each attempt is in the sums of statistics, so that just this can be taken out again. Personal data of the account whose attempt it is: its points and what it chose. Kept with the attempt.';
COMMENT ON COLUMN statistics_attempt.class IS '1 where it is the first of its account, 2 the last, 4 the highest, added up; 8 on top for each that counts; 0 for one that does not.';
COMMENT ON COLUMN statistics_attempt.body IS 'Points of its questions in millionths, and what was answered, as JSON.';

CREATE TABLE statistics_exclusion (
	item_id text COLLATE "C" NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	course_id text COLLATE "C" NOT NULL,
	reason text NOT NULL,
	excluded_by text COLLATE "C" NOT NULL,
	excluded_at timestamp with time zone NOT NULL,
	CONSTRAINT statistics_exclusion_pkey PRIMARY KEY (item_id, account_id)
);
COMMENT ON TABLE statistics_exclusion IS 'Whose attempts at an item count in no statistics. Personal data of that account, and of the one that excluded it: their ids. Kept until it is ended, as long as the course.';

CREATE TABLE statistics_score (
	quiz_id text COLLATE "C" NOT NULL,
	item_id text COLLATE "C" NOT NULL,
	percent integer NOT NULL,
	x numeric NOT NULL,
	class smallint NOT NULL,
	n bigint NOT NULL,
	CONSTRAINT statistics_score_pkey PRIMARY KEY (quiz_id, item_id, percent, x, class)
);
COMMENT ON TABLE statistics_score IS 'How many attempts count how many points, for the median. No personal data.';

CREATE TABLE statistics_sum (
	quiz_id text COLLATE "C" NOT NULL,
	item_id text COLLATE "C" NOT NULL,
	kind text COLLATE "C" NOT NULL,
	key text COLLATE "C" NOT NULL,
	version integer NOT NULL,
	class smallint NOT NULL,
	n bigint NOT NULL,
	m numeric NOT NULL,
	x numeric NOT NULL,
	x2 numeric NOT NULL,
	x3 numeric NOT NULL,
	x4 numeric NOT NULL,
	t numeric NOT NULL,
	t2 numeric NOT NULL,
	xt numeric NOT NULL,
	CONSTRAINT statistics_sum_pkey PRIMARY KEY (quiz_id, item_id, kind, key, version, class),
	CONSTRAINT statistics_sum_kind CHECK ((kind = ANY (ARRAY['quiz'::text, 'percent'::text, 'question'::text, 'drawn'::text, 'pool'::text])))
);
COMMENT ON TABLE statistics_sum IS 'Sums over attempts, of integers, so that they are exact: points are in millionths. By the class of the attempts, of which those that are asked for are added up. No personal data.';
COMMENT ON COLUMN statistics_sum.kind IS 'quiz: x is what the attempts count; percent: how many have so many hundredths of it; question, drawn, pool: x is what the question or all of the pool give.';
COMMENT ON COLUMN statistics_sum.m IS 'The sum of what x can be at most.';
COMMENT ON COLUMN statistics_sum.t IS 'The sum of the points of all questions of the attempts.';

CREATE TABLE submission (
	id text COLLATE "C" NOT NULL,
	course_id text COLLATE "C" NOT NULL,
	item_id text COLLATE "C" NOT NULL,
	assignment_id text COLLATE "C" NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	group_id text COLLATE "C" NOT NULL,
	draft bytea,
	draft_revision bigint NOT NULL DEFAULT 0,
	draft_by text COLLATE "C" NOT NULL DEFAULT ''::text,
	draft_at timestamp with time zone,
	last_number integer NOT NULL DEFAULT 0,
	number integer NOT NULL DEFAULT 0,
	returns integer NOT NULL DEFAULT 0,
	returned boolean NOT NULL DEFAULT false,
	returned_note text NOT NULL DEFAULT ''::text,
	returned_by text COLLATE "C" NOT NULL DEFAULT ''::text,
	returned_at timestamp with time zone,
	created_at timestamp with time zone NOT NULL,
	updated_at timestamp with time zone NOT NULL,
	CONSTRAINT submission_pkey PRIMARY KEY (id),
	CONSTRAINT submission_of UNIQUE (assignment_id, item_id, account_id, group_id),
	CONSTRAINT submission_draft CHECK (((draft IS NULL) = (draft_at IS NULL))),
	CONSTRAINT submission_one CHECK (((account_id = ''::text) <> (group_id = ''::text)))
);
CREATE INDEX submission_at ON submission USING btree (item_id, assignment_id);
COMMENT ON TABLE submission IS 'What somebody, or a group, drafts and hands in at an item. Personal data of those who do: their work, and when they worked on it. Kept as grades of record as long as the course; on erasure the account becomes a pseudonym.';
COMMENT ON COLUMN submission.account_id IS 'Whose it is; empty where it is a group''s.';
COMMENT ON COLUMN submission.draft IS 'The stoa.assessment.v1.SubmissionContent that is not handed in yet, in binary form; null for none.';
COMMENT ON COLUMN submission.draft_revision IS 'Grows with each change of the draft, also when it goes.';
COMMENT ON COLUMN submission.last_number IS 'The number of the version handed in last, taken back or not.';
COMMENT ON COLUMN submission.number IS 'The same of those that were not taken back; 0 for none.';
COMMENT ON COLUMN submission.returns IS 'How often it was given back to be done again: as many attempts come on top.';
COMMENT ON COLUMN submission.returned IS 'Whether it is to be done again, and was not since.';

CREATE TABLE submission_file (
	media_id text COLLATE "C" NOT NULL,
	submission_id text COLLATE "C" NOT NULL,
	course_id text COLLATE "C" NOT NULL,
	number integer NOT NULL DEFAULT 0,
	purpose text COLLATE "C" NOT NULL,
	state text COLLATE "C" NOT NULL,
	told boolean NOT NULL DEFAULT false,
	filename text NOT NULL,
	content_type text NOT NULL,
	size bigint NOT NULL,
	sha256 text COLLATE "C" NOT NULL,
	added_by text COLLATE "C" NOT NULL,
	added_at timestamp with time zone NOT NULL,
	CONSTRAINT submission_file_pkey PRIMARY KEY (media_id),
	CONSTRAINT submission_file_submission FOREIGN KEY (submission_id) REFERENCES submission(id),
	CONSTRAINT submission_file_purpose CHECK ((purpose = ANY (ARRAY['submission'::text, 'feedback'::text]))),
	CONSTRAINT submission_file_state CHECK ((state = ANY (ARRAY['draft'::text, 'kept'::text, 'dropped'::text, 'gone'::text])))
);
CREATE INDEX submission_file_dropped ON submission_file USING btree (course_id, media_id) WHERE (state = 'dropped'::text);
CREATE INDEX submission_file_of ON submission_file USING btree (submission_id, number);
CREATE INDEX submission_file_untold ON submission_file USING btree (added_at) WHERE ((NOT told) AND (state = ANY (ARRAY['draft'::text, 'kept'::text])));
COMMENT ON TABLE submission_file IS 'The files of what is drafted, handed in and given back; each is of one submission. Personal data of those who uploaded them: their work, by its name. Kept with the submission.';
COMMENT ON COLUMN submission_file.number IS 'The version that feedback is of; 0 of what is handed in, which versions name.';
COMMENT ON COLUMN submission_file.state IS 'draft: only the draft has it. kept: a version has it, or it is feedback. dropped: to be deleted. gone: deleted, and never to be named again.';
COMMENT ON COLUMN submission_file.told IS 'Whether the service media was told to keep it.';

CREATE TABLE submission_mark (
	submission_id text COLLATE "C" NOT NULL,
	number integer NOT NULL,
	revision bigint NOT NULL,
	points numeric(20,6),
	comment text NOT NULL,
	comments bytea,
	source text COLLATE "C" NOT NULL DEFAULT 'marking'::text,
	marked_by text COLLATE "C" NOT NULL,
	marked_at timestamp with time zone NOT NULL,
	rubric bytea,
	CONSTRAINT submission_mark_pkey PRIMARY KEY (submission_id, number, revision),
	CONSTRAINT submission_mark_version FOREIGN KEY (submission_id, number) REFERENCES submission_version(submission_id, number)
);
COMMENT ON TABLE submission_mark IS 'The marks that a version has had, never changed: the newest holds. Personal data of those who handed it in (their mark and what is said of their work) and of who marked it. Kept with the submission.';
COMMENT ON COLUMN submission_mark.comments IS 'A stoa.assessment.v1.SubmissionMark with the remarks on parts alone, in binary form; null for none.';
COMMENT ON COLUMN submission_mark.source IS 'What made it: marking by somebody, or what the service makes of several.';
COMMENT ON COLUMN submission_mark.rubric IS 'The stoa.assessment.v1.RubricMarks, in binary form; null without a rubric. Where it comes of two, its criteria have points.';

CREATE TABLE submission_member (
	submission_id text COLLATE "C" NOT NULL,
	number integer NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	item_id text COLLATE "C" NOT NULL,
	due_at timestamp with time zone,
	late_seconds bigint NOT NULL DEFAULT 0,
	CONSTRAINT submission_member_pkey PRIMARY KEY (submission_id, number, account_id),
	CONSTRAINT submission_member_version FOREIGN KEY (submission_id, number) REFERENCES submission_version(submission_id, number)
);
CREATE INDEX submission_member_of ON submission_member USING btree (item_id, account_id);
COMMENT ON TABLE submission_member IS 'Of whom a version is that was handed in, as that was then, and how late it is for each. Personal data of the account: that it handed it in, and how late. Kept with the submission.';
COMMENT ON COLUMN submission_member.due_at IS 'When it was due for the account, as was known when lateness was computed last; null for never.';

CREATE TABLE submission_version (
	submission_id text COLLATE "C" NOT NULL,
	number integer NOT NULL,
	assignment_version integer NOT NULL,
	content bytea NOT NULL,
	words integer NOT NULL,
	hash bytea NOT NULL,
	statement_accepted boolean NOT NULL,
	submitted_by text COLLATE "C" NOT NULL,
	submitted_at timestamp with time zone NOT NULL,
	withdrawn_by text COLLATE "C" NOT NULL DEFAULT ''::text,
	withdrawn_at timestamp with time zone,
	mark_revision bigint NOT NULL DEFAULT 0,
	points numeric(20,6),
	max_points numeric(20,6) NOT NULL,
	marked_by text COLLATE "C" NOT NULL DEFAULT ''::text,
	marked_at timestamp with time zone,
	CONSTRAINT submission_version_pkey PRIMARY KEY (submission_id, number),
	CONSTRAINT submission_version_submission FOREIGN KEY (submission_id) REFERENCES submission(id)
);
COMMENT ON TABLE submission_version IS 'What was handed in at a time. Its content is never changed; whether it was taken back and the mark that holds are. Personal data of those who handed it in: their work. Kept with the submission.';
COMMENT ON COLUMN submission_version.content IS 'The stoa.assessment.v1.SubmissionContent, in binary form.';
COMMENT ON COLUMN submission_version.hash IS 'The SHA-256 of its canonical form.';
COMMENT ON COLUMN submission_version.mark_revision IS 'The mark that holds; 0 for none.';
COMMENT ON COLUMN submission_version.points IS 'What the mark that holds gives; null where it is none.';
COMMENT ON COLUMN submission_version.max_points IS 'The points of the version of the assignment that it was handed in to.';
