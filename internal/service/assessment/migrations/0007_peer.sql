-- +goose Up

CREATE TABLE given_marker (
	submission_id text COLLATE "C" NOT NULL,
	number integer NOT NULL,
	part integer NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	CONSTRAINT given_marker_pkey PRIMARY KEY (submission_id, number, part),
	CONSTRAINT given_marker_one UNIQUE (submission_id, number, account_id),
	CONSTRAINT given_marker_part CHECK (part IN (1, 2)),
	CONSTRAINT given_marker_version FOREIGN KEY (submission_id, number) REFERENCES submission_version (submission_id, number)
);
COMMENT ON TABLE given_marker IS 'The two who mark a version that is marked twice: nobody is both. Personal data of the accounts that mark: their ids. Kept with the submission.';

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
	reason text NOT NULL DEFAULT '',
	given_at timestamptz NOT NULL,
	CONSTRAINT given_mark_pkey PRIMARY KEY (submission_id, number, seq),
	CONSTRAINT given_mark_part CHECK (part IN (1, 2, 3)),
	CONSTRAINT given_mark_version FOREIGN KEY (submission_id, number) REFERENCES submission_version (submission_id, number)
);
CREATE INDEX given_mark_of ON given_mark (submission_id, number, part, seq);
CREATE TRIGGER given_mark_only_grows BEFORE DELETE OR UPDATE OR TRUNCATE ON given_mark FOR EACH STATEMENT EXECUTE FUNCTION only_grows();
COMMENT ON TABLE given_mark IS 'Marks of versions from which the mark that counts is made: by each of two, what was agreed, and what the staff gives where reviews by students count too. Appended to and never changed. Personal data of those who handed it in (what is said of their work) and of who marked it. Kept with the submission.';
COMMENT ON COLUMN given_mark.part IS '1 and 2: of the markers of these numbers. 3: what the staff gives in the end.';
COMMENT ON COLUMN given_mark.points IS 'An exact number of the points of the version; null for none, in part 3 alone.';
COMMENT ON COLUMN given_mark.comments IS 'As in submission_mark, and rubric too.';
COMMENT ON COLUMN given_mark.reason IS 'Of part 3: why, where it was settled by somebody.';

ALTER TABLE assignment ADD COLUMN peer_reviewed boolean NOT NULL DEFAULT false, ADD COLUMN peer_only boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN assignment.peer_reviewed IS 'Whether students review each other''s work by the version published last.';
COMMENT ON COLUMN assignment.peer_only IS 'Whether its reviews alone make the mark.';

ALTER TABLE placement ADD COLUMN due_at timestamptz;
COMMENT ON COLUMN placement.due_at IS 'When the course says that it is due, for those for whom nothing else is said; null for never, or for a number of days.';

CREATE TABLE peer_round (
	course_id text COLLATE "C" NOT NULL,
	item_id text COLLATE "C" NOT NULL,
	assignment_id text COLLATE "C" NOT NULL,
	reviews integer NOT NULL,
	seed bigint NOT NULL,
	revision bigint NOT NULL DEFAULT 1,
	opened_at timestamptz NOT NULL,
	begin_by timestamptz,
	closes_at timestamptz NOT NULL,
	closed_at timestamptz,
	released_at timestamptz,
	marked_to text COLLATE "C" NOT NULL DEFAULT '',
	marked_at timestamptz,
	edited_by text COLLATE "C" NOT NULL DEFAULT '',
	edited_at timestamptz NOT NULL,
	CONSTRAINT peer_round_pkey PRIMARY KEY (item_id, assignment_id)
);
CREATE INDEX peer_round_begin ON peer_round (begin_by) WHERE begin_by IS NOT NULL AND closed_at IS NULL;
CREATE INDEX peer_round_close ON peer_round (closes_at) WHERE closed_at IS NULL;
CREATE INDEX peer_round_mark ON peer_round (closed_at) WHERE closed_at IS NOT NULL AND marked_at IS NULL;
COMMENT ON TABLE peer_round IS 'That students review each other''s work at an item, and when. Personal data of the account that changed it last: its id. Kept as long as the course.';
COMMENT ON COLUMN peer_round.seed IS 'What the allocation comes of, together with what was handed in.';
COMMENT ON COLUMN peer_round.begin_by IS 'When those who have not begun a review lose it to others; null for never, and once that was done.';
COMMENT ON COLUMN peer_round.released_at IS 'When reviews were shown to authors before its end.';
COMMENT ON COLUMN peer_round.marked_to IS 'The submission up to which marks have followed its end, and marked_at when all had.';

CREATE TABLE peer_review (
	id text COLLATE "C" NOT NULL,
	course_id text COLLATE "C" NOT NULL,
	item_id text COLLATE "C" NOT NULL,
	assignment_id text COLLATE "C" NOT NULL,
	submission_id text COLLATE "C" NOT NULL,
	number integer NOT NULL DEFAULT 0,
	reviewer_id text COLLATE "C" NOT NULL,
	state text COLLATE "C" NOT NULL DEFAULT 'allotted',
	revision bigint NOT NULL DEFAULT 1,
	points text COLLATE "C",
	content bytea,
	excluded boolean NOT NULL DEFAULT false,
	excluded_reason text NOT NULL DEFAULT '',
	allotted_at timestamptz NOT NULL,
	saved_at timestamptz,
	submitted_at timestamptz,
	CONSTRAINT peer_review_pkey PRIMARY KEY (id),
	CONSTRAINT peer_review_one UNIQUE (submission_id, reviewer_id),
	CONSTRAINT peer_review_submission FOREIGN KEY (submission_id) REFERENCES submission (id),
	CONSTRAINT peer_review_state CHECK (state IN ('allotted', 'begun', 'done', 'lost', 'freed'))
);
CREATE INDEX peer_review_at ON peer_review (item_id, assignment_id, id);
CREATE INDEX peer_review_by ON peer_review (item_id, reviewer_id, id);
COMMENT ON TABLE peer_review IS 'Who reviews whose work, and what they say of it. Personal data of those who review and of those whose work it is. Kept with the submission.';
COMMENT ON COLUMN peer_review.number IS 'The version that is reviewed; 0 until it is begun.';
COMMENT ON COLUMN peer_review.state IS 'allotted, begun and done; lost: not begun in time, others have it; freed: there is nothing to review any more, or it was given to who handed in later.';
COMMENT ON COLUMN peer_review.points IS 'An exact number of the points of the version; null while it is not done, and where none are given.';
COMMENT ON COLUMN peer_review.content IS 'The stoa.assessment.v1.PeerReviewContent, in binary form; null while it is not begun.';

CREATE TABLE peer_override (
	submission_id text COLLATE "C" NOT NULL,
	seq integer NOT NULL,
	points text COLLATE "C",
	reason text NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	given_at timestamptz NOT NULL,
	CONSTRAINT peer_override_pkey PRIMARY KEY (submission_id, seq),
	CONSTRAINT peer_override_submission FOREIGN KEY (submission_id) REFERENCES submission (id)
);
CREATE TRIGGER peer_override_only_grows BEFORE DELETE OR UPDATE OR TRUNCATE ON peer_override FOR EACH STATEMENT EXECUTE FUNCTION only_grows();
COMMENT ON TABLE peer_override IS 'What the staff has set in place of what reviews give, the newest holds; null points for what they give. Personal data of those whose work it is, and of who set it. Kept with the submission.';
