-- +goose Up

ALTER TABLE quiz_preparation ADD COLUMN own boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN quiz_preparation.own IS 'Whether it opens soon for some alone, who have a window of their own: learning is asked for whom. Else all those enrolled are looked at.';

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
	reason text NOT NULL DEFAULT '',
	given_at timestamptz NOT NULL,
	CONSTRAINT answer_given_pkey PRIMARY KEY (attempt_id, slot, seq),
	CONSTRAINT answer_given_question FOREIGN KEY (attempt_id, slot) REFERENCES attempt_question (attempt_id, slot),
	CONSTRAINT answer_given_part CHECK (part IN (1, 2, 3))
);
CREATE TRIGGER answer_given_only_grows BEFORE DELETE OR UPDATE OR TRUNCATE ON answer_given FOR EACH STATEMENT EXECUTE FUNCTION only_grows();
COMMENT ON TABLE answer_given IS 'Marks of answers that two mark, from which the mark that counts is made, which is in answer_mark: as given_mark has those of submissions. Appended to and never changed. Personal data of the account whose attempt it is (what is said of its answer) and of who marked it. Kept with the attempt.';
COMMENT ON COLUMN answer_given.answer_seq IS 'The operation of the log that the answer came with; 0 for none. Another answer is marked anew.';
COMMENT ON COLUMN answer_given.part IS '1 and 2: of the markers of these numbers. 3: what was agreed, or settled.';
COMMENT ON COLUMN answer_given.points IS 'An exact number of the points that the question was worth.';
COMMENT ON COLUMN answer_given.comments IS 'Always null: as given_mark has it.';

CREATE TABLE answer_given_marker (
	attempt_id text COLLATE "C" NOT NULL,
	slot integer NOT NULL,
	part integer NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	answer_seq bigint NOT NULL,
	CONSTRAINT answer_given_marker_pkey PRIMARY KEY (attempt_id, slot, part),
	CONSTRAINT answer_given_marker_one UNIQUE (attempt_id, slot, account_id),
	CONSTRAINT answer_given_marker_question FOREIGN KEY (attempt_id, slot) REFERENCES attempt_question (attempt_id, slot),
	CONSTRAINT answer_given_marker_part CHECK (part IN (1, 2))
);
COMMENT ON TABLE answer_given_marker IS 'The two who mark an answer that is marked twice: nobody is both. Gone once another answer counts, which is marked anew. Personal data of the accounts that mark: their ids. Kept with the attempt.';
