-- +goose Up

CREATE TABLE question (
	id text COLLATE "C" NOT NULL,
	course_id text COLLATE "C" NOT NULL,
	version integer NOT NULL,
	revision bigint NOT NULL DEFAULT 1,
	created_by text COLLATE "C" NOT NULL,
	created_at timestamptz NOT NULL,
	updated_at timestamptz NOT NULL,
	deleted_at timestamptz,
	CONSTRAINT question_pkey PRIMARY KEY (id)
);
COMMENT ON TABLE question IS 'The questions of a course''s bank; what each asks is in its versions. Personal data of the account that made it: its id. Kept as long as the course.';
COMMENT ON COLUMN question.version IS 'The version that is current.';
COMMENT ON COLUMN question.deleted_at IS 'When it was taken out of the bank. Attempts that have it keep it.';

CREATE TABLE question_version (
	question_id text COLLATE "C" NOT NULL,
	version integer NOT NULL,
	kind text COLLATE "C" NOT NULL,
	title text NOT NULL,
	body bytea NOT NULL,
	hash bytea NOT NULL,
	created_by text COLLATE "C" NOT NULL,
	created_at timestamptz NOT NULL,
	CONSTRAINT question_version_pkey PRIMARY KEY (question_id, version),
	CONSTRAINT question_version_question FOREIGN KEY (question_id) REFERENCES question (id)
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
	created_at timestamptz NOT NULL,
	updated_at timestamptz NOT NULL,
	deleted_at timestamptz,
	CONSTRAINT quiz_pkey PRIMARY KEY (id)
);
COMMENT ON TABLE quiz IS 'The quizzes and exams of courses, as their authors are changing them. Personal data of the account that made one: its id. Kept as long as the course.';
COMMENT ON COLUMN quiz.draft IS 'The stoa.assessment.v1.QuizSettings that are edited, in binary form.';
COMMENT ON COLUMN quiz.version IS 'The version that is taken now; 0 while there is none.';
CREATE INDEX quiz_of_course ON quiz (course_id, id) WHERE deleted_at IS NULL;

CREATE TABLE quiz_version (
	quiz_id text COLLATE "C" NOT NULL,
	version integer NOT NULL,
	settings bytea NOT NULL,
	message text NOT NULL DEFAULT '',
	created_by text COLLATE "C" NOT NULL,
	created_at timestamptz NOT NULL,
	CONSTRAINT quiz_version_pkey PRIMARY KEY (quiz_id, version),
	CONSTRAINT quiz_version_quiz FOREIGN KEY (quiz_id) REFERENCES quiz (id)
);
COMMENT ON TABLE quiz_version IS 'What of a quiz was published, never changed: attempts name one. Its slots name exact versions of questions. Personal data of the account that published it: its id. Kept as long as the quiz.';
COMMENT ON COLUMN quiz_version.settings IS 'The stoa.assessment.v1.QuizSettings, in binary form.';

CREATE TABLE placement (
	course_id text COLLATE "C" NOT NULL,
	item_id text COLLATE "C" NOT NULL,
	ref text COLLATE "C" NOT NULL,
	kind text COLLATE "C" NOT NULL,
	title text NOT NULL,
	schedule bytea,
	sequence bigint NOT NULL,
	present boolean NOT NULL,
	CONSTRAINT placement_pkey PRIMARY KEY (course_id, item_id)
);
COMMENT ON TABLE placement IS 'Where in the published versions of courses quizzes and assignments stand, as the service courses told it. No personal data.';
COMMENT ON COLUMN placement.ref IS 'The quiz or assignment; empty where the course names none.';
COMMENT ON COLUMN placement.sequence IS 'Of the CoursePublished that said it.';
COMMENT ON COLUMN placement.present IS 'Whether the version published last has it. Who is bound to an earlier one has it still.';
CREATE INDEX placement_ref ON placement (ref) WHERE ref <> '';

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
	open_from timestamptz,
	open_until timestamptz,
	due_at timestamptz,
	prepared_at timestamptz NOT NULL,
	started_at timestamptz,
	time_limit interval,
	extra_time interval NOT NULL DEFAULT '0',
	expires_at timestamptz,
	grace_until timestamptz,
	submitted_at timestamptz,
	submitted_by text COLLATE "C",
	graded_at timestamptz,
	last_seq bigint NOT NULL DEFAULT 0,
	saved_at timestamptz,
	points numeric(20, 6),
	max_points numeric(20, 6) NOT NULL,
	revision bigint NOT NULL DEFAULT 1,
	CONSTRAINT attempt_pkey PRIMARY KEY (id),
	CONSTRAINT attempt_number UNIQUE (quiz_id, item_id, account_id, preview, number),
	CONSTRAINT attempt_state CHECK (state IN ('prepared', 'in_progress', 'submitted', 'graded', 'abandoned')),
	CONSTRAINT attempt_started CHECK (state = 'prepared' OR started_at IS NOT NULL),
	CONSTRAINT attempt_submitted CHECK ((state IN ('submitted', 'graded')) = (submitted_at IS NOT NULL))
);
CREATE UNIQUE INDEX attempt_running ON attempt (quiz_id, item_id, account_id, preview) WHERE state IN ('prepared', 'in_progress');
CREATE INDEX attempt_expiring ON attempt (expires_at) WHERE state = 'in_progress' AND expires_at IS NOT NULL;
CREATE INDEX attempt_to_grade ON attempt (submitted_at) WHERE state = 'submitted';
CREATE INDEX attempt_of_item ON attempt (item_id, account_id, number);
CREATE INDEX attempt_of_account ON attempt (account_id, started_at DESC, id DESC);
COMMENT ON TABLE attempt IS 'Attempts at quizzes. Personal data of the account: when they took it, and their score. Kept as grades of record as long as the course; on erasure the account becomes a pseudonym.';
COMMENT ON COLUMN attempt.state IS 'prepared: made ahead, not seen by the student yet; in_progress; submitted: no more answers, being scored or waiting for marks; graded: every question has its marks; abandoned: never submitted where the quiz does not submit by itself.';
COMMENT ON COLUMN attempt.preview IS 'Whether a teacher tries the quiz. It counts nowhere.';
COMMENT ON COLUMN attempt.seed IS 'What shuffles, draws and data sets come of, with the engine''s version.';
COMMENT ON COLUMN attempt.open_from IS 'When it may be started: the item''s release and schedule for this account as they were when it was prepared.';
COMMENT ON COLUMN attempt.time_limit IS 'What this account has from its start, with what is eased for it; null for no limit. extra_time comes on top.';
COMMENT ON COLUMN attempt.expires_at IS 'When the server ends it: the time limit or the end of the window, the earlier; null for never.';
COMMENT ON COLUMN attempt.grace_until IS 'Until when what comes late may still count, by the quiz''s policy.';
COMMENT ON COLUMN attempt.submitted_by IS 'The account, "clock" for the server, or who of the staff did it.';
COMMENT ON COLUMN attempt.last_seq IS 'The number of the last operation in its log.';

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
	max_points numeric(20, 6) NOT NULL,
	state text COLLATE "C" NOT NULL DEFAULT 'todo',
	fraction text COLLATE "C",
	points numeric(20, 6),
	revision bigint NOT NULL DEFAULT 1,
	CONSTRAINT attempt_question_pkey PRIMARY KEY (attempt_id, slot),
	CONSTRAINT attempt_question_attempt FOREIGN KEY (attempt_id) REFERENCES attempt (id)
);
CREATE INDEX attempt_question_of ON attempt_question (question_id, question_version);
COMMENT ON TABLE attempt_question IS 'The questions of an attempt, pinned: what is asked, what it is scored by, and with which seed. What it scored follows from the log. Personal data of the account whose attempt it is. Kept with the attempt.';
COMMENT ON COLUMN attempt_question.slot IS 'The place in the attempt as the student sees it, from 1.';
COMMENT ON COLUMN attempt_question.question_version IS 'The version that the student sees.';
COMMENT ON COLUMN attempt_question.key_version IS 'The version whose key scores it: another than the one seen after a change of the key.';
COMMENT ON COLUMN attempt_question.state IS 'As the engine tells it: todo, answered, right, partly, wrong, gave_up, needs_marking, marked. What was told last; the log is what counts.';
COMMENT ON COLUMN attempt_question.fraction IS 'The exact fraction of max_points, such as "1/3"; null while there is none.';
COMMENT ON COLUMN attempt_question.points IS 'fraction of max_points, to show; totals are made of the fractions.';

CREATE TABLE answer_operation (
	attempt_id text COLLATE "C" NOT NULL,
	seq bigint NOT NULL,
	client_id text COLLATE "C" NOT NULL,
	client_seq bigint NOT NULL,
	slot integer NOT NULL,
	kind text COLLATE "C" NOT NULL,
	value bytea,
	client_time timestamptz,
	received_at timestamptz NOT NULL,
	verdict text COLLATE "C" NOT NULL,
	CONSTRAINT answer_operation_pkey PRIMARY KEY (attempt_id, seq),
	CONSTRAINT answer_operation_once UNIQUE (attempt_id, client_id, client_seq),
	CONSTRAINT answer_operation_attempt FOREIGN KEY (attempt_id) REFERENCES attempt (id)
);
COMMENT ON TABLE answer_operation IS 'The log of what students answered, appended to and never changed: what an attempt''s state and score are made of. Personal data of the account whose attempt it is: their answers, and when they gave them. Kept with the attempt.';
COMMENT ON COLUMN answer_operation.seq IS 'Its number in the attempt, from 1 without gaps, in the order of arrival.';
COMMENT ON COLUMN answer_operation.client_id IS 'The device or tab that sent it, as it calls itself, or "server".';
COMMENT ON COLUMN answer_operation.client_seq IS 'Its number at the client, from 1.';
COMMENT ON COLUMN answer_operation.slot IS 'The question; 0 for the attempt as a whole.';
COMMENT ON COLUMN answer_operation.value IS 'The canonical JSON of what was given.';
COMMENT ON COLUMN answer_operation.verdict IS 'Whether it counts: accepted, late (came in the time of grace and counts), too_late (does not count), refused (of a part that is closed).';
