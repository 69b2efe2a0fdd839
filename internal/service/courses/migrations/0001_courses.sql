-- +goose Up

CREATE TABLE course (
	id text COLLATE "C" CONSTRAINT course_pkey PRIMARY KEY,
	owner_id text COLLATE "C" NOT NULL,
	title text NOT NULL,
	subtitle text NOT NULL,
	description text NOT NULL,
	language text NOT NULL,
	level text NOT NULL,
	category text NOT NULL,
	tags text[] NOT NULL,
	outcomes text[] NOT NULL,
	cover_media_id text COLLATE "C" NOT NULL DEFAULT '',
	revision bigint NOT NULL DEFAULT 1,
	published boolean NOT NULL DEFAULT false,
	published_number int NOT NULL DEFAULT 0,
	published_at timestamptz,
	published_changes bigint NOT NULL DEFAULT -1,
	sequence bigint NOT NULL DEFAULT 0,
	created_at timestamptz NOT NULL
);
COMMENT ON TABLE course IS 'Courses with the draft of their landing page. owner_id says which account owns it.';
COMMENT ON COLUMN course.revision IS 'Grows with each change of the row that is told; the ETag.';
COMMENT ON COLUMN course.published_changes IS 'draft.changes when it was last published.';
COMMENT ON COLUMN course.sequence IS 'Grows with each event about publishing.';

CREATE TABLE draft (
	course_id text COLLATE "C" CONSTRAINT draft_pkey PRIMARY KEY CONSTRAINT draft_course REFERENCES course,
	owner_id text COLLATE "C" NOT NULL,
	changes bigint NOT NULL DEFAULT 0,
	changed_at timestamptz NOT NULL
);
COMMENT ON TABLE draft IS 'How often and when the draft of each course was changed. A row apart from the course, so that who saves a lesson waits for nobody but who publishes. owner_id is that of the course.';
CREATE INDEX draft_owner ON draft (owner_id, changed_at DESC, course_id DESC);

CREATE TABLE item_version (
	id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT item_version_pkey PRIMARY KEY,
	item_id text COLLATE "C" NOT NULL,
	title text NOT NULL,
	preview boolean NOT NULL,
	body jsonb NOT NULL,
	author_id text COLLATE "C" NOT NULL,
	created_at timestamptz NOT NULL
);
COMMENT ON TABLE item_version IS 'Every content that a module or a lesson ever had. Rows are never changed. author_id says which account wrote it.';

CREATE TABLE item (
	id text COLLATE "C" CONSTRAINT item_pkey PRIMARY KEY,
	course_id text COLLATE "C" NOT NULL CONSTRAINT item_course REFERENCES course,
	parent_id text COLLATE "C" NOT NULL DEFAULT '',
	kind text NOT NULL CONSTRAINT item_kind CHECK (kind IN ('module', 'lesson')),
	position bigint NOT NULL,
	revision bigint NOT NULL DEFAULT 1,
	version_id bigint NOT NULL CONSTRAINT item_version_of REFERENCES item_version,
	CONSTRAINT item_parent CHECK ((kind = 'module') = (parent_id = ''))
);
COMMENT ON TABLE item IS 'The draft: modules, and lessons in modules, with the content they have now. No personal data.';
COMMENT ON COLUMN item.position IS 'Orders the siblings; there are gaps, so that one can be moved alone.';
CREATE INDEX item_siblings ON item (course_id, parent_id, position, id);

CREATE TABLE publication (
	course_id text COLLATE "C" CONSTRAINT publication_course REFERENCES course,
	number int,
	message text NOT NULL,
	author_id text COLLATE "C" NOT NULL,
	published_at timestamptz NOT NULL,
	lesson_count int NOT NULL,
	title text NOT NULL,
	subtitle text NOT NULL,
	description text NOT NULL,
	language text NOT NULL,
	level text NOT NULL,
	category text NOT NULL,
	tags text[] NOT NULL,
	outcomes text[] NOT NULL,
	cover_media_id text COLLATE "C" NOT NULL,
	CONSTRAINT publication_pkey PRIMARY KEY (course_id, number)
);
COMMENT ON TABLE publication IS 'What was published, with the landing page as it was. Rows are never changed. author_id says which account published.';

CREATE TABLE publication_item (
	course_id text COLLATE "C",
	number int,
	item_id text COLLATE "C",
	parent_id text COLLATE "C" NOT NULL,
	kind text NOT NULL,
	position int NOT NULL,
	version_id bigint NOT NULL CONSTRAINT publication_item_version REFERENCES item_version,
	CONSTRAINT publication_item_pkey PRIMARY KEY (course_id, number, item_id)
);
COMMENT ON TABLE publication_item IS 'The modules and lessons of what was published, with their content then. Rows are never changed. No personal data.';
COMMENT ON COLUMN publication_item.position IS 'The place among the siblings, from 0, without gaps.';
