-- +goose Up

ALTER TABLE attempt_question
	ADD COLUMN scoring text COLLATE "C" NOT NULL DEFAULT 'key',
	ADD COLUMN own_points numeric(20, 6),
	ADD CONSTRAINT attempt_question_scoring CHECK (scoring IN ('key', 'full'));
CREATE INDEX attempt_question_in ON attempt_question (question_id, attempt_id);
COMMENT ON COLUMN attempt_question.scoring IS 'key: by the key of key_version; full: everybody has all its points.';
COMMENT ON COLUMN attempt_question.own_points IS 'What it was worth before a re-key gave it other points; null where max_points is that.';

CREATE TABLE rekey (
	id text COLLATE "C" NOT NULL,
	course_id text COLLATE "C" NOT NULL,
	question_id text COLLATE "C" NOT NULL,
	versions integer[] NOT NULL,
	quiz_id text COLLATE "C" NOT NULL DEFAULT '',
	item_id text COLLATE "C" NOT NULL DEFAULT '',
	action text COLLATE "C" NOT NULL,
	key_version integer NOT NULL DEFAULT 0,
	points numeric(20, 6),
	undoes text COLLATE "C" NOT NULL DEFAULT '',
	reason text NOT NULL,
	state text COLLATE "C" NOT NULL,
	number bigint NOT NULL DEFAULT 0,
	undone_by text COLLATE "C" NOT NULL DEFAULT '',
	created_by text COLLATE "C" NOT NULL,
	created_at timestamptz NOT NULL,
	applied_by text COLLATE "C" NOT NULL DEFAULT '',
	applied_at timestamptz,
	finished_at timestamptz,
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
	after text[] NOT NULL DEFAULT '{"","",""}',
	CONSTRAINT rekey_pkey PRIMARY KEY (id),
	CONSTRAINT rekey_action CHECK (action IN ('key', 'full', 'drop', 'points', 'undo')),
	CONSTRAINT rekey_state CHECK (state IN ('previewing', 'ready', 'applying', 'applied', 'expired')),
	CONSTRAINT rekey_applied CHECK ((state IN ('applying', 'applied')) = (applied_at IS NOT NULL))
);
-- One at a time, so that what is in force is known while it comes about.
CREATE UNIQUE INDEX rekey_running ON rekey (course_id, question_id) WHERE state = 'applying';
CREATE UNIQUE INDEX rekey_number ON rekey (course_id, question_id, number) WHERE number > 0;
CREATE INDEX rekey_working ON rekey (created_at) WHERE state IN ('previewing', 'applying');
CREATE INDEX rekey_unused ON rekey (created_at) WHERE state = 'ready';
CREATE INDEX rekey_of ON rekey (course_id, id DESC);
CREATE INDEX rekey_in_force ON rekey (course_id, question_id, number) WHERE number > 0 AND undone_by = '';
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
	attempt_state text COLLATE "C" NOT NULL DEFAULT '',
	change text COLLATE "C" NOT NULL DEFAULT '',
	old_key integer NOT NULL DEFAULT 0,
	new_key integer NOT NULL DEFAULT 0,
	old_scoring text COLLATE "C" NOT NULL DEFAULT 'key',
	new_scoring text COLLATE "C" NOT NULL DEFAULT 'key',
	old_max numeric(20, 6),
	new_max numeric(20, 6),
	old_state text COLLATE "C" NOT NULL DEFAULT '',
	new_state text COLLATE "C" NOT NULL DEFAULT '',
	old_fraction text COLLATE "C",
	new_fraction text COLLATE "C",
	old_points numeric(20, 6),
	new_points numeric(20, 6),
	old_total numeric(20, 6),
	new_total numeric(20, 6),
	old_mark text COLLATE "C" NOT NULL DEFAULT '',
	new_mark text COLLATE "C" NOT NULL DEFAULT '',
	mark_max text COLLATE "C" NOT NULL DEFAULT '',
	at timestamptz,
	CONSTRAINT rekey_attempt_pkey PRIMARY KEY (rekey_id, attempt_id),
	CONSTRAINT rekey_attempt_rekey FOREIGN KEY (rekey_id) REFERENCES rekey (id),
	CONSTRAINT rekey_attempt_attempt FOREIGN KEY (attempt_id) REFERENCES attempt (id),
	CONSTRAINT rekey_attempt_stage CHECK (stage BETWEEN 0 AND 2)
);
CREATE INDEX rekey_attempt_next ON rekey_attempt (rekey_id, stage, quiz_id, item_id, account_id, attempt_id) WHERE stage < 2;
CREATE INDEX rekey_attempt_history ON rekey_attempt (attempt_id) WHERE stage = 2;
CREATE INDEX rekey_attempt_change ON rekey_attempt (rekey_id, change, attempt_id);
COMMENT ON TABLE rekey_attempt IS 'What a re-key makes, or made, of each attempt: what its student is told, and its history. Personal data of the account whose attempt it is: its points. Those of previews that were not applied are deleted after a week; all others are kept with the attempt.';
COMMENT ON COLUMN rekey_attempt.stage IS '0: to be looked at; 1: looked at, or to be applied; 2: applied, and never changed again.';
COMMENT ON COLUMN rekey_attempt.change IS 'up, down, same: what becomes of the points of the attempt; untouched: people have marked the answer; unscored: it is not scored yet.';
COMMENT ON COLUMN rekey_attempt.old_total IS 'The points of the attempt.';
COMMENT ON COLUMN rekey_attempt.old_mark IS 'What counts of the attempts of the account at the item; empty where nothing does yet.';

CREATE TABLE statistics (
	quiz_id text COLLATE "C" NOT NULL,
	item_id text COLLATE "C" NOT NULL,
	changed_at timestamptz,
	CONSTRAINT statistics_pkey PRIMARY KEY (quiz_id, item_id)
);
COMMENT ON TABLE statistics IS 'The quizzes of items whose attempts are counted. Who counts locks the row. No personal data.';

CREATE TABLE statistics_attempt (
	attempt_id text COLLATE "C" NOT NULL,
	quiz_id text COLLATE "C" NOT NULL,
	item_id text COLLATE "C" NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	class smallint NOT NULL,
	body bytea NOT NULL,
	CONSTRAINT statistics_attempt_pkey PRIMARY KEY (attempt_id)
);
CREATE INDEX statistics_attempt_of ON statistics_attempt (quiz_id, item_id, account_id);
COMMENT ON TABLE statistics_attempt IS 'What of each attempt is in the sums of statistics, so that just this can be taken out again. Personal data of the account whose attempt it is: its points and what it chose. Kept with the attempt.';
COMMENT ON COLUMN statistics_attempt.class IS '1 where it is the first of its account, 2 the last, 4 the highest, added up; 8 on top for each that counts; 0 for one that does not.';
COMMENT ON COLUMN statistics_attempt.body IS 'Points of its questions in millionths, and what was answered, as JSON.';

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
	CONSTRAINT statistics_sum_kind CHECK (kind IN ('quiz', 'percent', 'question', 'drawn', 'pool'))
);
COMMENT ON TABLE statistics_sum IS 'Sums over attempts, of integers, so that they are exact: points are in millionths. By the class of the attempts, of which those that are asked for are added up. No personal data.';
COMMENT ON COLUMN statistics_sum.kind IS 'quiz: x is what the attempts count; percent: how many have so many hundredths of it; question, drawn, pool: x is what the question or all of the pool give.';
COMMENT ON COLUMN statistics_sum.m IS 'The sum of what x can be at most.';
COMMENT ON COLUMN statistics_sum.t IS 'The sum of the points of all questions of the attempts.';

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

CREATE TABLE statistics_exclusion (
	item_id text COLLATE "C" NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	course_id text COLLATE "C" NOT NULL,
	reason text NOT NULL,
	excluded_by text COLLATE "C" NOT NULL,
	excluded_at timestamptz NOT NULL,
	CONSTRAINT statistics_exclusion_pkey PRIMARY KEY (item_id, account_id)
);
COMMENT ON TABLE statistics_exclusion IS 'Whose attempts at an item count in no statistics. Personal data of that account, and of the one that excluded it: their ids. Kept until it is ended, as long as the course.';
