-- +goose Up

ALTER TABLE quiz
	ADD COLUMN password_hash text COLLATE "C" NOT NULL DEFAULT '',
	ADD COLUMN question_count integer NOT NULL DEFAULT 0,
	ADD COLUMN published_revision bigint NOT NULL DEFAULT 0,
	ADD COLUMN edited_by text COLLATE "C" NOT NULL DEFAULT '',
	ADD COLUMN edited_at timestamptz,
	ADD COLUMN copied_from text COLLATE "C" NOT NULL DEFAULT '';
COMMENT ON TABLE quiz IS 'The quizzes and exams of courses, as their authors are changing them. Personal data of the accounts that made one and changed it last: their ids. Kept as long as the course.';
COMMENT ON COLUMN quiz.password_hash IS 'Of the password to begin with, by argon2id; empty for none. It is of no account.';
COMMENT ON COLUMN quiz.question_count IS 'How many questions an attempt at the draft has.';
COMMENT ON COLUMN quiz.published_revision IS 'The revision that was published last.';
COMMENT ON COLUMN quiz.copied_from IS 'The quiz that it was made of; empty for none.';

ALTER TABLE quiz_version ADD COLUMN title text NOT NULL DEFAULT '';

CREATE INDEX attempt_of_quiz_prepared ON attempt (quiz_id, item_id, account_id) WHERE state = 'prepared';
CREATE INDEX attempt_of_account_prepared ON attempt (account_id, course_id) WHERE state = 'prepared';

ALTER TABLE placement ADD COLUMN opens_at timestamptz;
COMMENT ON COLUMN placement.opens_at IS 'From when on the schedule lets everybody work on it; null where it names no such moment.';
CREATE INDEX placement_opening ON placement (opens_at) WHERE present AND kind = 'quiz' AND ref <> '';

CREATE TABLE enrollment (
	course_id text COLLATE "C" NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	version bigint NOT NULL,
	live boolean NOT NULL,
	CONSTRAINT enrollment_pkey PRIMARY KEY (course_id, account_id)
);
COMMENT ON TABLE enrollment IS 'Who takes a course, as the service access told it. Personal data of the account: that it takes the course, or did. Kept as long as the course.';

CREATE TABLE quiz_preparation (
	course_id text COLLATE "C" NOT NULL,
	item_id text COLLATE "C" NOT NULL,
	opens_at timestamptz NOT NULL,
	next_at timestamptz NOT NULL,
	after_id text COLLATE "C" NOT NULL DEFAULT '',
	CONSTRAINT quiz_preparation_pkey PRIMARY KEY (course_id, item_id)
);
CREATE INDEX quiz_preparation_next ON quiz_preparation (next_at);
COMMENT ON TABLE quiz_preparation IS 'The quizzes whose window opens soon, for which attempts are made ahead. No personal data.';
COMMENT ON COLUMN quiz_preparation.next_at IS 'When the next of those enrolled are looked at. Who works on it moves it on, so that it comes again if they die.';
COMMENT ON COLUMN quiz_preparation.after_id IS 'The last account that was looked at in this round; empty at its beginning.';

CREATE TABLE quiz_mark (
	course_id text COLLATE "C" NOT NULL,
	item_id text COLLATE "C" NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	quiz_id text COLLATE "C" NOT NULL DEFAULT '',
	quiz_version integer NOT NULL DEFAULT 0,
	state text COLLATE "C" NOT NULL DEFAULT 'none',
	source_id text COLLATE "C" NOT NULL DEFAULT '',
	points text COLLATE "C" NOT NULL DEFAULT '',
	max_points text COLLATE "C" NOT NULL DEFAULT '',
	submitted_at timestamptz,
	late_seconds bigint NOT NULL DEFAULT 0,
	attempts integer NOT NULL DEFAULT 0,
	version bigint NOT NULL DEFAULT 0,
	first_submitted_at timestamptz,
	result_version bigint NOT NULL DEFAULT 0,
	CONSTRAINT quiz_mark_pkey PRIMARY KEY (course_id, item_id, account_id),
	CONSTRAINT quiz_mark_state CHECK (state IN ('none', 'submitted', 'marked'))
);
CREATE INDEX quiz_mark_of ON quiz_mark (quiz_id, quiz_version);
COMMENT ON TABLE quiz_mark IS 'What counts of the attempts of somebody at an item, as the gradebook was told last. Personal data of the account: its mark. Kept as grades of record as long as the course.';
COMMENT ON COLUMN quiz_mark.quiz_version IS 'The version whose settings made it.';
COMMENT ON COLUMN quiz_mark.points IS 'A decimal of at most 6 places; empty where nothing is marked.';
COMMENT ON COLUMN quiz_mark.version IS 'Of the MarkChanged that told it.';
COMMENT ON COLUMN quiz_mark.result_version IS 'Of the ActivityResultChanged that told first_submitted_at.';

CREATE TABLE quiz_remark (
	quiz_id text COLLATE "C" NOT NULL,
	CONSTRAINT quiz_remark_pkey PRIMARY KEY (quiz_id)
);
COMMENT ON TABLE quiz_remark IS 'Quizzes that were published anew, whose marks follow. Gone once they have. No personal data.';

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

CREATE TABLE quiz_copy (
	quiz_id text COLLATE "C" NOT NULL,
	course_id text COLLATE "C" NOT NULL,
	from_quiz_id text COLLATE "C" NOT NULL,
	from_course_id text COLLATE "C" NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	retry_at timestamptz NOT NULL,
	CONSTRAINT quiz_copy_pkey PRIMARY KEY (quiz_id)
);
CREATE INDEX quiz_copy_due ON quiz_copy (retry_at);
COMMENT ON TABLE quiz_copy IS 'Quizzes that are to be made of others because a course was copied. Gone once they are. Personal data of the account that copied: its id.';

CREATE TABLE quiz_due (
	course_id text COLLATE "C" NOT NULL,
	item_id text COLLATE "C" NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	queued bigint GENERATED BY DEFAULT AS IDENTITY,
	CONSTRAINT quiz_due_pkey PRIMARY KEY (course_id, item_id, account_id)
);
CREATE INDEX quiz_due_queued ON quiz_due (queued);
COMMENT ON TABLE quiz_due IS 'Whose due dates have changed at a quiz that they have handed in, until they were asked for. Personal data: the id of the account.';
