-- What the migrations make of the schema "courses". Generated; do not edit:
-- bin/testservers -only postgres -- go test ./internal/app -run TestSchemaDumps -update

CREATE TABLE course (
	id text COLLATE "C" NOT NULL,
	owner_id text COLLATE "C" NOT NULL,
	title text NOT NULL,
	subtitle text NOT NULL,
	description text NOT NULL,
	language text NOT NULL,
	level text NOT NULL,
	category text NOT NULL,
	tags text[] NOT NULL,
	outcomes text[] NOT NULL,
	cover_media_id text COLLATE "C" NOT NULL DEFAULT ''::text,
	revision bigint NOT NULL DEFAULT 1,
	published boolean NOT NULL DEFAULT false,
	published_number integer NOT NULL DEFAULT 0,
	published_at timestamp with time zone,
	published_changes bigint NOT NULL DEFAULT '-1'::integer,
	sequence bigint NOT NULL DEFAULT 0,
	created_at timestamp with time zone NOT NULL,
	owner_version bigint NOT NULL DEFAULT 0,
	CONSTRAINT course_pkey PRIMARY KEY (id)
);
COMMENT ON TABLE course IS 'Courses with the draft of their landing page. owner_id says which account owns it.';
COMMENT ON COLUMN course.revision IS 'Grows with each change of the row that is told; the ETag.';
COMMENT ON COLUMN course.published_changes IS 'draft.changes when it was last published.';
COMMENT ON COLUMN course.sequence IS 'Grows with each event about publishing.';
COMMENT ON COLUMN course.owner_version IS 'The version of the last change of owner that access has told.';

CREATE TABLE draft (
	course_id text COLLATE "C" NOT NULL,
	owner_id text COLLATE "C" NOT NULL,
	changes bigint NOT NULL DEFAULT 0,
	changed_at timestamp with time zone NOT NULL,
	CONSTRAINT draft_pkey PRIMARY KEY (course_id),
	CONSTRAINT draft_course FOREIGN KEY (course_id) REFERENCES course(id)
);
CREATE INDEX draft_owner ON draft USING btree (owner_id, changed_at DESC, course_id DESC);
COMMENT ON TABLE draft IS 'How often and when the draft of each course was changed. A row apart from the course, so that who saves a lesson waits for nobody but who publishes. owner_id is that of the course.';

CREATE TABLE item (
	id text COLLATE "C" NOT NULL,
	course_id text COLLATE "C" NOT NULL,
	parent_id text COLLATE "C" NOT NULL DEFAULT ''::text,
	kind text NOT NULL,
	"position" bigint NOT NULL,
	revision bigint NOT NULL DEFAULT 1,
	version_id bigint NOT NULL,
	CONSTRAINT item_pkey PRIMARY KEY (id),
	CONSTRAINT item_course FOREIGN KEY (course_id) REFERENCES course(id),
	CONSTRAINT item_version_of FOREIGN KEY (version_id) REFERENCES item_version(id),
	CONSTRAINT item_kind CHECK ((kind = ANY (ARRAY['module'::text, 'lesson'::text]))),
	CONSTRAINT item_parent CHECK (((kind = 'module'::text) = (parent_id = ''::text)))
);
CREATE INDEX item_siblings ON item USING btree (course_id, parent_id, "position", id);
COMMENT ON TABLE item IS 'The draft: modules, and lessons in modules, with the content they have now. No personal data.';
COMMENT ON COLUMN item."position" IS 'Orders the siblings; there are gaps, so that one can be moved alone.';

CREATE TABLE item_version (
	id bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
	item_id text COLLATE "C" NOT NULL,
	title text NOT NULL,
	preview boolean NOT NULL,
	body jsonb NOT NULL,
	author_id text COLLATE "C" NOT NULL,
	created_at timestamp with time zone NOT NULL,
	CONSTRAINT item_version_pkey PRIMARY KEY (id)
);
COMMENT ON TABLE item_version IS 'Every content that a module or a lesson ever had. Rows are never changed. author_id says which account wrote it.';

CREATE TABLE publication (
	course_id text COLLATE "C" NOT NULL,
	number integer NOT NULL,
	message text NOT NULL,
	author_id text COLLATE "C" NOT NULL,
	published_at timestamp with time zone NOT NULL,
	lesson_count integer NOT NULL,
	title text NOT NULL,
	subtitle text NOT NULL,
	description text NOT NULL,
	language text NOT NULL,
	level text NOT NULL,
	category text NOT NULL,
	tags text[] NOT NULL,
	outcomes text[] NOT NULL,
	cover_media_id text COLLATE "C" NOT NULL,
	CONSTRAINT publication_pkey PRIMARY KEY (course_id, number),
	CONSTRAINT publication_course FOREIGN KEY (course_id) REFERENCES course(id)
);
COMMENT ON TABLE publication IS 'What was published, with the landing page as it was. Rows are never changed. author_id says which account published.';

CREATE TABLE publication_item (
	course_id text COLLATE "C" NOT NULL,
	number integer NOT NULL,
	item_id text COLLATE "C" NOT NULL,
	parent_id text COLLATE "C" NOT NULL,
	kind text NOT NULL,
	"position" integer NOT NULL,
	version_id bigint NOT NULL,
	CONSTRAINT publication_item_pkey PRIMARY KEY (course_id, number, item_id),
	CONSTRAINT publication_item_version FOREIGN KEY (version_id) REFERENCES item_version(id)
);
COMMENT ON TABLE publication_item IS 'The modules and lessons of what was published, with their content then. Rows are never changed. No personal data.';
COMMENT ON COLUMN publication_item."position" IS 'The place among the siblings, from 0, without gaps.';
