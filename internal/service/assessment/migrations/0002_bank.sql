-- +goose Up

CREATE TABLE question_category (
	id text COLLATE "C" NOT NULL,
	course_id text COLLATE "C" NOT NULL,
	parent_id text COLLATE "C",
	name text NOT NULL,
	revision bigint NOT NULL DEFAULT 1,
	created_at timestamptz NOT NULL,
	CONSTRAINT question_category_pkey PRIMARY KEY (id),
	CONSTRAINT question_category_parent FOREIGN KEY (parent_id) REFERENCES question_category (id)
);
COMMENT ON TABLE question_category IS 'The places for questions in the banks of courses. No personal data.';
COMMENT ON COLUMN question_category.parent_id IS 'The category it is in; null at the top.';
CREATE UNIQUE INDEX question_category_name ON question_category (course_id, coalesce(parent_id, ''), lower(name));
CREATE INDEX question_category_in ON question_category (parent_id);

ALTER TABLE question
	ADD COLUMN category_id text COLLATE "C",
	ADD COLUMN tags text[] NOT NULL DEFAULT '{}',
	ADD COLUMN tag_words text NOT NULL DEFAULT '',
	ADD COLUMN marks text[] NOT NULL DEFAULT '{}',
	ADD COLUMN content_words tsvector NOT NULL DEFAULT '',
	ADD COLUMN words tsvector NOT NULL GENERATED ALWAYS AS (
		content_words || setweight(to_tsvector('simple', tag_words), 'B')
			|| array_to_tsvector(marks || ('=' || course_id) || ('/' || coalesce(category_id, '')))) STORED,
	ADD CONSTRAINT question_category FOREIGN KEY (category_id) REFERENCES question_category (id);
COMMENT ON COLUMN question.category_id IS 'Its category; null at the top of the bank.';
COMMENT ON COLUMN question.tags IS 'In lower case, sorted.';
COMMENT ON COLUMN question.tag_words IS 'The tags as text, because what a generated column calls must not depend on settings.';
COMMENT ON COLUMN question.marks IS 'Its kind and its tags as words that no text has, so that the one index on words answers for them too.';
COMMENT ON COLUMN question.words IS 'All that it is found by: words, tags, and as words that no text has its kind, its bank and its category.';
COMMENT ON COLUMN question.content_words IS 'The words of its current version, at most the first 64 KiB of it.';
CREATE INDEX question_newest ON question (course_id, id DESC) WHERE deleted_at IS NULL;
CREATE INDEX question_in_category ON question (category_id, id DESC) WHERE deleted_at IS NULL;
-- Without the list of pending entries, which every search would read.
CREATE INDEX question_words ON question USING gin (words) WITH (fastupdate = off) WHERE deleted_at IS NULL;

CREATE TABLE bank_share (
	course_id text COLLATE "C" NOT NULL,
	with_course_id text COLLATE "C" NOT NULL,
	shared_by text COLLATE "C" NOT NULL,
	shared_at timestamptz NOT NULL,
	CONSTRAINT bank_share_pkey PRIMARY KEY (course_id, with_course_id),
	CONSTRAINT bank_share_other CHECK (course_id <> with_course_id)
);
COMMENT ON TABLE bank_share IS 'Which courses may use the questions of which. Personal data of the account that shared: its id. Kept until it is ended.';
CREATE INDEX bank_share_with ON bank_share (with_course_id);

CREATE TABLE quiz_question (
	quiz_id text COLLATE "C" NOT NULL,
	question_id text COLLATE "C" NOT NULL,
	draft boolean NOT NULL,
	published_version integer NOT NULL,
	CONSTRAINT quiz_question_pkey PRIMARY KEY (quiz_id, question_id),
	CONSTRAINT quiz_question_quiz FOREIGN KEY (quiz_id) REFERENCES quiz (id),
	CONSTRAINT quiz_question_question FOREIGN KEY (question_id) REFERENCES question (id)
);
COMMENT ON TABLE quiz_question IS 'Which quizzes use which questions. Follows from their drafts and their published versions, and is written with them. No personal data.';
COMMENT ON COLUMN quiz_question.draft IS 'Whether the draft names it.';
COMMENT ON COLUMN quiz_question.published_version IS 'The version of the question that the published version asks or may draw; 0 for none.';
CREATE INDEX quiz_question_used ON quiz_question (question_id);

CREATE TABLE quiz_category (
	quiz_id text COLLATE "C" NOT NULL,
	category_id text COLLATE "C" NOT NULL,
	CONSTRAINT quiz_category_pkey PRIMARY KEY (quiz_id, category_id),
	CONSTRAINT quiz_category_quiz FOREIGN KEY (quiz_id) REFERENCES quiz (id),
	CONSTRAINT quiz_category_category FOREIGN KEY (category_id) REFERENCES question_category (id)
);
COMMENT ON TABLE quiz_category IS 'Which quizzes'' drafts draw from which categories. Written with the drafts. No personal data.';
CREATE INDEX quiz_category_drawn ON quiz_category (category_id);
