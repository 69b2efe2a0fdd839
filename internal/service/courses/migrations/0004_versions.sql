-- +goose Up

-- The history of items: what each of a draft was at each of its revisions, so
-- that an ETag that somebody holds leads back to what they had read, and items
-- that have left the draft are still found.
CREATE TABLE item_revision (
	item_id text COLLATE "C" NOT NULL,
	revision bigint NOT NULL,
	course_id text COLLATE "C" NOT NULL,
	kind text NOT NULL,
	parent_id text COLLATE "C" NOT NULL,
	version_id bigint NOT NULL CONSTRAINT item_revision_version REFERENCES item_version,
	removed boolean NOT NULL DEFAULT false,
	CONSTRAINT item_revision_pkey PRIMARY KEY (item_id, revision)
);
COMMENT ON TABLE item_revision IS 'What each item of a draft was at each of its revisions; removed at its last where it has left the draft. Written by a trigger, whatever changes an item. No personal data.';

INSERT INTO item_revision (item_id, revision, course_id, kind, parent_id, version_id)
SELECT id, revision, course_id, kind, parent_id, version_id FROM item;

-- +goose StatementBegin
CREATE FUNCTION note_item_revision() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF TG_OP = 'DELETE' THEN
		INSERT INTO item_revision (item_id, revision, course_id, kind, parent_id, version_id, removed)
		VALUES (OLD.id, OLD.revision + 1, OLD.course_id, OLD.kind, OLD.parent_id, OLD.version_id, true);
	ELSE
		INSERT INTO item_revision (item_id, revision, course_id, kind, parent_id, version_id)
		VALUES (NEW.id, NEW.revision, NEW.course_id, NEW.kind, NEW.parent_id, NEW.version_id);
	END IF;
	RETURN NULL;
END
$$;
-- +goose StatementEnd
CREATE TRIGGER item_added AFTER INSERT OR DELETE ON item FOR EACH ROW EXECUTE FUNCTION note_item_revision();
CREATE TRIGGER item_changed AFTER UPDATE ON item FOR EACH ROW WHEN (NEW.revision <> OLD.revision) EXECUTE FUNCTION note_item_revision();

CREATE INDEX item_version_of_item ON item_version (item_id, id);
CREATE INDEX publication_item_of_version ON publication_item (version_id, number);

ALTER TABLE item
	ADD COLUMN edited_by text COLLATE "C" NOT NULL DEFAULT '',
	ADD COLUMN edited_at timestamptz;
COMMENT ON COLUMN item.edited_by IS 'Which account gave it another content last, and edited_at when; empty since it was made.';

ALTER TABLE publication ADD COLUMN reverted_to int NOT NULL DEFAULT 0;
COMMENT ON COLUMN publication.reverted_to IS 'The version that it is again what it was; 0 where it is the draft of then.';

ALTER TABLE course
	ADD COLUMN require_etag boolean NOT NULL DEFAULT false,
	ADD COLUMN edited_by text COLLATE "C" NOT NULL DEFAULT '',
	ADD COLUMN edited_at timestamptz,
	ADD COLUMN archived_at timestamptz,
	ADD COLUMN closed boolean NOT NULL DEFAULT false,
	ADD COLUMN review_state text NOT NULL DEFAULT '' CONSTRAINT course_review_state CHECK (review_state IN ('', 'submitted', 'approved', 'returned')),
	ADD COLUMN review_changes bigint NOT NULL DEFAULT -1,
	ADD COLUMN review_passed boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN course.require_etag IS 'Whether a change of what somebody may have changed meanwhile has to name the version it is based on.';
COMMENT ON COLUMN course.edited_by IS 'Which account changed the landing page of the draft last, and edited_at when.';
COMMENT ON COLUMN course.closed IS 'Whether it is archived and learners do not see it any more.';
COMMENT ON COLUMN course.review_changes IS 'draft.changes of what was submitted last.';
COMMENT ON COLUMN course.review_passed IS 'Whether it may come into the marketplace without another review.';
UPDATE course SET review_passed = true WHERE published;

ALTER TABLE draft ADD COLUMN archived boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN draft.archived IS 'Whether the course is archived, and nothing of the draft may change.';

CREATE TABLE review (
	id text COLLATE "C" CONSTRAINT review_pkey PRIMARY KEY,
	course_id text COLLATE "C" NOT NULL CONSTRAINT review_course REFERENCES course,
	draft_changes bigint NOT NULL,
	state text NOT NULL CONSTRAINT review_state CHECK (state IN ('submitted', 'approved', 'returned', 'superseded')),
	message text NOT NULL,
	submitted_by text COLLATE "C" NOT NULL,
	submitted_at timestamptz NOT NULL,
	comment text NOT NULL DEFAULT '',
	remarks jsonb NOT NULL DEFAULT '[]',
	reviewer_id text COLLATE "C" NOT NULL DEFAULT '',
	reviewed_at timestamptz
);
COMMENT ON TABLE review IS 'What was submitted for review and what became of it. Personal data of staff: submitted_by and reviewer_id say which accounts. Kept as long as the course.';
CREATE UNIQUE INDEX review_open ON review (course_id) WHERE state = 'submitted';
CREATE INDEX review_queue ON review (submitted_at, id) WHERE state = 'submitted';
CREATE INDEX review_of_course ON review (course_id, submitted_at DESC, id DESC);

CREATE TABLE cohort (
	cohort_id text COLLATE "C" CONSTRAINT cohort_pkey PRIMARY KEY,
	course_id text COLLATE "C" NOT NULL,
	cancelled boolean NOT NULL,
	version bigint NOT NULL
);
COMMENT ON TABLE cohort IS 'Which cohorts there are, as the service access told it with version. No personal data.';

CREATE TABLE cohort_member (
	course_id text COLLATE "C" NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	version bigint NOT NULL,
	cohort_id text COLLATE "C" NOT NULL,
	CONSTRAINT cohort_member_pkey PRIMARY KEY (course_id, account_id)
);
COMMENT ON TABLE cohort_member IS 'In which cohort of a course somebody is, empty for none any more, as the service access told it with version. Personal data of the account. Kept as long as the account.';

CREATE TABLE cohort_pin (
	course_id text COLLATE "C" NOT NULL CONSTRAINT cohort_pin_course REFERENCES course,
	cohort_id text COLLATE "C" NOT NULL,
	number int NOT NULL,
	sequence bigint NOT NULL,
	author_id text COLLATE "C" NOT NULL,
	pinned_at timestamptz NOT NULL,
	CONSTRAINT cohort_pin_pkey PRIMARY KEY (course_id, cohort_id)
);
COMMENT ON TABLE cohort_pin IS 'Which version the learners of a cohort see, 0 for the newest again. author_id says which account pinned last.';

CREATE TABLE revenue_split (
	course_id text COLLATE "C" NOT NULL CONSTRAINT revenue_split_course REFERENCES course,
	version int NOT NULL,
	valid_from timestamptz NOT NULL,
	shares jsonb NOT NULL,
	author_id text COLLATE "C" NOT NULL,
	created_at timestamptz NOT NULL,
	CONSTRAINT revenue_split_pkey PRIMARY KEY (course_id, version)
);
COMMENT ON TABLE revenue_split IS 'How what a course earns is shared among its staff: each row as it was set, never changed. Personal data: shares names accounts and what part each gets, author_id who set it. Kept for the accounts.';
