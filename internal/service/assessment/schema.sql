-- What the migrations make of the schema "assessment". Generated; do not edit:
-- bin/testservers -only postgres -- go test ./internal/app -run TestSchemaDumps -update

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
	CONSTRAINT answer_operation_pkey PRIMARY KEY (attempt_id, seq),
	CONSTRAINT answer_operation_once UNIQUE (attempt_id, client_id, client_seq),
	CONSTRAINT answer_operation_attempt FOREIGN KEY (attempt_id) REFERENCES attempt(id)
);
COMMENT ON TABLE answer_operation IS 'The log of what students answered, appended to and never changed: what an attempt''s state and score are made of. Personal data of the account whose attempt it is: their answers, and when they gave them. Kept with the attempt.';
COMMENT ON COLUMN answer_operation.seq IS 'Its number in the attempt, from 1 without gaps, in the order of arrival.';
COMMENT ON COLUMN answer_operation.client_id IS 'The device or tab that sent it, as it calls itself, or "server".';
COMMENT ON COLUMN answer_operation.client_seq IS 'Its number at the client, from 1.';
COMMENT ON COLUMN answer_operation.slot IS 'The question; 0 for the attempt as a whole.';
COMMENT ON COLUMN answer_operation.value IS 'The canonical JSON of what was given.';
COMMENT ON COLUMN answer_operation.verdict IS 'Whether it counts: accepted, late (came in the time of grace and counts), too_late (does not count), refused (of a part that is closed).';

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
	CONSTRAINT attempt_pkey PRIMARY KEY (id),
	CONSTRAINT attempt_number UNIQUE (quiz_id, item_id, account_id, preview, number),
	CONSTRAINT attempt_started CHECK (((state = 'prepared'::text) OR (started_at IS NOT NULL))),
	CONSTRAINT attempt_state CHECK ((state = ANY (ARRAY['prepared'::text, 'in_progress'::text, 'submitted'::text, 'graded'::text, 'abandoned'::text]))),
	CONSTRAINT attempt_submitted CHECK (((state = ANY (ARRAY['submitted'::text, 'graded'::text])) = (submitted_at IS NOT NULL)))
);
CREATE INDEX attempt_expiring ON attempt USING btree (expires_at) WHERE ((state = 'in_progress'::text) AND (expires_at IS NOT NULL));
CREATE INDEX attempt_of_account ON attempt USING btree (account_id, started_at DESC, id DESC);
CREATE INDEX attempt_of_item ON attempt USING btree (item_id, account_id, number);
CREATE UNIQUE INDEX attempt_running ON attempt USING btree (quiz_id, item_id, account_id, preview) WHERE (state = ANY (ARRAY['prepared'::text, 'in_progress'::text]));
CREATE INDEX attempt_to_grade ON attempt USING btree (submitted_at) WHERE (state = 'submitted'::text);
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
	max_points numeric(20,6) NOT NULL,
	state text COLLATE "C" NOT NULL DEFAULT 'todo'::text,
	fraction text COLLATE "C",
	points numeric(20,6),
	revision bigint NOT NULL DEFAULT 1,
	CONSTRAINT attempt_question_pkey PRIMARY KEY (attempt_id, slot),
	CONSTRAINT attempt_question_attempt FOREIGN KEY (attempt_id) REFERENCES attempt(id)
);
CREATE INDEX attempt_question_of ON attempt_question USING btree (question_id, question_version);
COMMENT ON TABLE attempt_question IS 'The questions of an attempt, pinned: what is asked, what it is scored by, and with which seed. What it scored follows from the log. Personal data of the account whose attempt it is. Kept with the attempt.';
COMMENT ON COLUMN attempt_question.slot IS 'The place in the attempt as the student sees it, from 1.';
COMMENT ON COLUMN attempt_question.question_version IS 'The version that the student sees.';
COMMENT ON COLUMN attempt_question.key_version IS 'The version whose key scores it: another than the one seen after a change of the key.';
COMMENT ON COLUMN attempt_question.state IS 'As the engine tells it: todo, answered, right, partly, wrong, gave_up, needs_marking, marked. What was told last; the log is what counts.';
COMMENT ON COLUMN attempt_question.fraction IS 'The exact fraction of max_points, such as "1/3"; null while there is none.';
COMMENT ON COLUMN attempt_question.points IS 'fraction of max_points, to show; totals are made of the fractions.';

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
CREATE INDEX placement_ref ON placement USING btree (ref) WHERE (ref <> ''::text);
COMMENT ON TABLE placement IS 'Where in the published versions of courses quizzes and assignments stand, as the service courses told it. No personal data.';
COMMENT ON COLUMN placement.ref IS 'The quiz or assignment; empty where the course names none.';
COMMENT ON COLUMN placement.sequence IS 'Of the CoursePublished that said it.';
COMMENT ON COLUMN placement.present IS 'Whether the version published last has it. Who is bound to an earlier one has it still.';

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
	words tsvector NOT NULL GENERATED ALWAYS AS (((content_words || setweight(to_tsvector('simple'::regconfig, tag_words), 'B'::"char")) || array_to_tsvector(marks))) STORED,
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
	CONSTRAINT quiz_pkey PRIMARY KEY (id)
);
CREATE INDEX quiz_of_course ON quiz USING btree (course_id, id) WHERE (deleted_at IS NULL);
COMMENT ON TABLE quiz IS 'The quizzes and exams of courses, as their authors are changing them. Personal data of the account that made one: its id. Kept as long as the course.';
COMMENT ON COLUMN quiz.draft IS 'The stoa.assessment.v1.QuizSettings that are edited, in binary form.';
COMMENT ON COLUMN quiz.version IS 'The version that is taken now; 0 while there is none.';

CREATE TABLE quiz_category (
	quiz_id text COLLATE "C" NOT NULL,
	category_id text COLLATE "C" NOT NULL,
	CONSTRAINT quiz_category_pkey PRIMARY KEY (quiz_id, category_id),
	CONSTRAINT quiz_category_category FOREIGN KEY (category_id) REFERENCES question_category(id),
	CONSTRAINT quiz_category_quiz FOREIGN KEY (quiz_id) REFERENCES quiz(id)
);
CREATE INDEX quiz_category_drawn ON quiz_category USING btree (category_id);
COMMENT ON TABLE quiz_category IS 'Which quizzes'' drafts draw from which categories. Written with the drafts. No personal data.';

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

CREATE TABLE quiz_version (
	quiz_id text COLLATE "C" NOT NULL,
	version integer NOT NULL,
	settings bytea NOT NULL,
	password_hash text,
	message text NOT NULL DEFAULT ''::text,
	created_by text COLLATE "C" NOT NULL,
	created_at timestamp with time zone NOT NULL,
	CONSTRAINT quiz_version_pkey PRIMARY KEY (quiz_id, version),
	CONSTRAINT quiz_version_quiz FOREIGN KEY (quiz_id) REFERENCES quiz(id)
);
COMMENT ON TABLE quiz_version IS 'What of a quiz was published, never changed: attempts name one. Its slots name exact versions of questions. Personal data of the account that published it: its id. Kept as long as the quiz.';
COMMENT ON COLUMN quiz_version.settings IS 'The stoa.assessment.v1.QuizSettings, in binary form.';
