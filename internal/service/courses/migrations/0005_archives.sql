-- +goose Up

CREATE TABLE course_origin (
	course_id text COLLATE "C" CONSTRAINT course_origin_pkey PRIMARY KEY CONSTRAINT course_origin_course REFERENCES course,
	origin_id text COLLATE "C" NOT NULL,
	source text NOT NULL CONSTRAINT course_origin_source CHECK (source IN ('archive', 'copy', 'template')),
	made_of text COLLATE "C" NOT NULL DEFAULT ''
);
COMMENT ON TABLE course_origin IS 'Of which course those were made that were made of another. No personal data.';
COMMENT ON COLUMN course_origin.origin_id IS 'The course that its archives name: of an import the one that the archive named, of a copy its own.';
COMMENT ON COLUMN course_origin.made_of IS 'The course that a copy was made of.';

CREATE TABLE template (
	course_id text COLLATE "C" CONSTRAINT template_pkey PRIMARY KEY CONSTRAINT template_course REFERENCES course,
	visibility text NOT NULL CONSTRAINT template_visibility CHECK (visibility IN ('own', 'platform')),
	marked_by text COLLATE "C" NOT NULL,
	marked_at timestamptz NOT NULL
);
CREATE INDEX template_platform ON template (marked_at DESC, course_id DESC) WHERE visibility = 'platform';
CREATE INDEX course_owner ON course (owner_id);
COMMENT ON TABLE template IS 'Courses that others are made of. marked_by says which account said so.';

CREATE TABLE course_import (
	id text COLLATE "C" CONSTRAINT course_import_pkey PRIMARY KEY,
	account_id text COLLATE "C" NOT NULL,
	course_id text COLLATE "C" NOT NULL DEFAULT '',
	staging_id text COLLATE "C" NOT NULL,
	dry_run boolean NOT NULL,
	node text NOT NULL DEFAULT '',
	source_course_id text COLLATE "C" NOT NULL DEFAULT '',
	source_media_id text COLLATE "C" NOT NULL DEFAULT '',
	size bigint NOT NULL,
	sha256 text NOT NULL,
	state text NOT NULL DEFAULT 'queued' CONSTRAINT course_import_state CHECK (state IN ('queued', 'running', 'done', 'failed')),
	code text NOT NULL DEFAULT '',
	attempts int NOT NULL DEFAULT 0,
	lease text NOT NULL DEFAULT '',
	next_at timestamptz NOT NULL,
	modules int NOT NULL DEFAULT 0,
	lessons int NOT NULL DEFAULT 0,
	media_files int NOT NULL DEFAULT 0,
	media_done int NOT NULL DEFAULT 0,
	findings jsonb NOT NULL DEFAULT '[]',
	errors int NOT NULL DEFAULT 0,
	warnings int NOT NULL DEFAULT 0,
	created_at timestamptz NOT NULL,
	finished_at timestamptz
);
CREATE INDEX course_import_account ON course_import (account_id, created_at DESC, id DESC);
CREATE INDEX course_import_due ON course_import (next_at, id) WHERE state IN ('queued', 'running');
CREATE INDEX course_import_finished ON course_import (finished_at) WHERE finished_at IS NOT NULL;
COMMENT ON TABLE course_import IS 'Archives on their way to be courses, kept for 30 days after their end. account_id says who sent one.';
COMMENT ON COLUMN course_import.course_id IS 'The course that gets the modules; empty for a new one until it is made.';
COMMENT ON COLUMN course_import.staging_id IS 'The course that the files are put into: the new one, or one that never comes to be.';
COMMENT ON COLUMN course_import.node IS 'Whose folder has the archive; empty where it is a file of a course.';
COMMENT ON COLUMN course_import.lease IS 'Which run works on it, until next_at unless it says that it still does.';

CREATE TABLE import_node (
	id text CONSTRAINT import_node_pkey PRIMARY KEY,
	seen_at timestamptz NOT NULL
);
COMMENT ON TABLE import_node IS 'The folders that archives are kept in, and when a process last had each. No personal data.';

CREATE TABLE media_claim (
	id text COLLATE "C" CONSTRAINT media_claim_pkey PRIMARY KEY,
	caller text COLLATE "C" NOT NULL,
	key text NOT NULL,
	course_id text COLLATE "C" NOT NULL,
	from_course_id text COLLATE "C" NOT NULL DEFAULT '',
	batches jsonb NOT NULL DEFAULT '[]',
	state text NOT NULL DEFAULT 'open' CONSTRAINT media_claim_state CHECK (state IN ('open', 'done', 'abandoned')),
	due_at timestamptz NOT NULL,
	CONSTRAINT media_claim_key UNIQUE (caller, key)
);
CREATE INDEX media_claim_due ON media_claim (due_at);
COMMENT ON TABLE media_claim IS 'Files that media was asked to make for what is not there yet: they are deleted unless it comes to be. caller says which account asked.';
COMMENT ON COLUMN media_claim.key IS 'What was asked for: a repetition finds the course that it was asked for before.';
COMMENT ON COLUMN media_claim.batches IS 'Lists of files of from_course_id that a course got copies of, which others belong to as well; empty where all that course_id has is to go.';
COMMENT ON COLUMN media_claim.due_at IS 'When one that is open is abandoned, and one that is done forgotten.';
