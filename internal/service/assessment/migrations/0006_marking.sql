-- +goose Up

CREATE TABLE answer_mark (
	attempt_id text COLLATE "C" NOT NULL,
	seq bigint NOT NULL,
	slot integer NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	points text COLLATE "C",
	fraction text COLLATE "C",
	withdrawn boolean NOT NULL DEFAULT false,
	comment text NOT NULL DEFAULT '',
	reason text NOT NULL DEFAULT '',
	rubric bytea,
	marked_at timestamptz NOT NULL,
	CONSTRAINT answer_mark_pkey PRIMARY KEY (attempt_id, seq),
	CONSTRAINT answer_mark_operation FOREIGN KEY (attempt_id, seq) REFERENCES answer_operation (attempt_id, seq),
	CONSTRAINT answer_mark_one CHECK (num_nonnulls(points, fraction) <= 1 AND NOT (withdrawn AND num_nonnulls(points, fraction) > 0))
);
CREATE INDEX answer_mark_of ON answer_mark (attempt_id, slot, seq);
CREATE TRIGGER answer_mark_only_grows BEFORE DELETE OR UPDATE OR TRUNCATE ON answer_mark FOR EACH STATEMENT EXECUTE FUNCTION only_grows();
COMMENT ON TABLE answer_mark IS 'What people gave to answers: what the operations "mark" of the log hold. Appended to and never changed. Personal data of the account whose attempt it is: its marks; of the account that marked: its id and what it said. Kept with the attempt.';
COMMENT ON COLUMN answer_mark.points IS 'A decimal of what the question is worth; null where none were given.';
COMMENT ON COLUMN answer_mark.fraction IS 'The exact fraction that was given, or that the rubric gives; null where none was.';
COMMENT ON COLUMN answer_mark.reason IS 'Why it differs from what the program gave.';
COMMENT ON COLUMN answer_mark.rubric IS 'The stoa.assessment.v1.RubricMarks, in binary form; null without a rubric.';

CREATE TABLE marking_claim (
	target_id text COLLATE "C" NOT NULL,
	slot integer NOT NULL,
	part integer NOT NULL DEFAULT 1,
	course_id text COLLATE "C" NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	expires_at timestamptz NOT NULL,
	CONSTRAINT marking_claim_pkey PRIMARY KEY (target_id, slot, part),
	CONSTRAINT marking_claim_one UNIQUE (course_id, account_id),
	CONSTRAINT marking_claim_part CHECK (part IN (1, 2))
);
COMMENT ON TABLE marking_claim IS 'Who marks which answer or submission now. Gone once it is marked or given back; what has run out is there until another grader takes it. Personal data of the account that marks: its id.';
COMMENT ON COLUMN marking_claim.target_id IS 'An attempt, or a submission.';
COMMENT ON COLUMN marking_claim.slot IS 'The question of the attempt; 0 of a submission.';
COMMENT ON COLUMN marking_claim.part IS '1, or 2 where two mark it.';

CREATE INDEX attempt_question_to_mark ON attempt_question (question_id, attempt_id, slot) WHERE state IN ('needs_marking', 'marked');
CREATE INDEX attempt_to_mark ON attempt (course_id, item_id, id) WHERE state IN ('submitted', 'graded') AND NOT preview;

ALTER TABLE quiz ADD COLUMN pseudonym_key uuid NOT NULL DEFAULT gen_random_uuid();
COMMENT ON COLUMN quiz.pseudonym_key IS 'What the pseudonyms come of under which its answers are marked. It is told to nobody.';

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
	created_at timestamptz NOT NULL,
	updated_at timestamptz NOT NULL,
	copied_from text COLLATE "C" NOT NULL DEFAULT '',
	copied_version integer NOT NULL DEFAULT 0,
	deleted_at timestamptz,
	CONSTRAINT rubric_pkey PRIMARY KEY (id)
);
CREATE INDEX rubric_copied ON rubric (course_id, copied_from) WHERE copied_from <> '' AND deleted_at IS NULL;
CREATE INDEX rubric_of_course ON rubric (course_id, id) WHERE deleted_at IS NULL;
COMMENT ON TABLE rubric IS 'Rubrics and marking guides, as their authors are changing them. Personal data of the accounts that made one and changed it last: their ids. Kept as long as the course.';
COMMENT ON COLUMN rubric.draft IS 'The stoa.assessment.v1.RubricContent that is edited, in binary form.';
COMMENT ON COLUMN rubric.version IS 'The version that is marked by now; 0 while there is none.';
COMMENT ON COLUMN rubric.copied_from IS 'The rubric of another course that it came of, with a quiz or an assignment, and copied_version the version of that one.';

CREATE TABLE rubric_version (
	rubric_id text COLLATE "C" NOT NULL,
	version integer NOT NULL,
	title text NOT NULL,
	content bytea NOT NULL,
	created_by text COLLATE "C" NOT NULL,
	created_at timestamptz NOT NULL,
	CONSTRAINT rubric_version_pkey PRIMARY KEY (rubric_id, version),
	CONSTRAINT rubric_version_rubric FOREIGN KEY (rubric_id) REFERENCES rubric (id)
);
COMMENT ON TABLE rubric_version IS 'What of a rubric was published, never changed: marks name one. Personal data of the account that published it: its id. Kept as long as the rubric.';

CREATE TABLE rubric_use (
	target_id text COLLATE "C" NOT NULL,
	question_id text COLLATE "C" NOT NULL DEFAULT '',
	purpose text COLLATE "C" NOT NULL DEFAULT '',
	course_id text COLLATE "C" NOT NULL,
	rubric_id text COLLATE "C" NOT NULL,
	CONSTRAINT rubric_use_pkey PRIMARY KEY (target_id, question_id, purpose),
	CONSTRAINT rubric_use_purpose CHECK (purpose IN ('', 'peer_review')),
	CONSTRAINT rubric_use_rubric FOREIGN KEY (rubric_id) REFERENCES rubric (id)
);
CREATE INDEX rubric_use_of ON rubric_use (rubric_id);
COMMENT ON TABLE rubric_use IS 'What is marked by which rubric. No personal data.';
COMMENT ON COLUMN rubric_use.target_id IS 'A quiz or an assignment.';
COMMENT ON COLUMN rubric_use.question_id IS 'The question of the quiz; empty for an assignment.';
COMMENT ON COLUMN rubric_use.purpose IS 'Empty where staff marks by it; peer_review where students review each other''s work by it.';

ALTER TABLE submission_mark ADD COLUMN rubric bytea;
COMMENT ON COLUMN submission_mark.rubric IS 'The stoa.assessment.v1.RubricMarks, in binary form; null without a rubric. Where it comes of two, its criteria have points.';
