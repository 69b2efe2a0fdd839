-- What the migrations make of the schema "courses". Generated; do not edit:
-- bin/testservers -only postgres -- go test ./internal/app -run TestSchemaDumps -update

CREATE TABLE cohort (
	cohort_id text COLLATE "C" NOT NULL,
	course_id text COLLATE "C" NOT NULL,
	cancelled boolean NOT NULL,
	version bigint NOT NULL,
	CONSTRAINT cohort_pkey PRIMARY KEY (cohort_id)
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
	course_id text COLLATE "C" NOT NULL,
	cohort_id text COLLATE "C" NOT NULL,
	number integer NOT NULL,
	sequence bigint NOT NULL,
	author_id text COLLATE "C" NOT NULL,
	pinned_at timestamp with time zone NOT NULL,
	CONSTRAINT cohort_pin_pkey PRIMARY KEY (course_id, cohort_id),
	CONSTRAINT cohort_pin_course FOREIGN KEY (course_id) REFERENCES course(id)
);
COMMENT ON TABLE cohort_pin IS 'Which version the learners of a cohort see, 0 for the newest again. author_id says which account pinned last.';

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
	time_zone text NOT NULL DEFAULT 'UTC'::text,
	audience text[] NOT NULL DEFAULT '{}'::text[],
	promo_video_media_id text COLLATE "C" NOT NULL DEFAULT ''::text,
	faq jsonb NOT NULL DEFAULT '[]'::jsonb,
	release jsonb NOT NULL DEFAULT '{}'::jsonb,
	grading jsonb NOT NULL DEFAULT '{}'::jsonb,
	require_etag boolean NOT NULL DEFAULT false,
	edited_by text COLLATE "C" NOT NULL DEFAULT ''::text,
	edited_at timestamp with time zone,
	archived_at timestamp with time zone,
	closed boolean NOT NULL DEFAULT false,
	review_state text NOT NULL DEFAULT ''::text,
	review_changes bigint NOT NULL DEFAULT '-1'::integer,
	review_passed boolean NOT NULL DEFAULT false,
	CONSTRAINT course_pkey PRIMARY KEY (id),
	CONSTRAINT course_review_state CHECK ((review_state = ANY (ARRAY[''::text, 'submitted'::text, 'approved'::text, 'returned'::text])))
);
CREATE INDEX course_owner ON course USING btree (owner_id);
COMMENT ON TABLE course IS 'Courses with the draft of their landing page. owner_id says which account owns it.';
COMMENT ON COLUMN course.revision IS 'Grows with each change of the row that is told; the ETag.';
COMMENT ON COLUMN course.published_changes IS 'draft.changes when it was last published.';
COMMENT ON COLUMN course.sequence IS 'Grows with each event about publishing.';
COMMENT ON COLUMN course.owner_version IS 'The version of the last change of owner that access has told.';
COMMENT ON COLUMN course.release IS 'When the course is open, a Rule as its contract has it in JSON; empty for always.';
COMMENT ON COLUMN course.grading IS 'How it is graded, a GradingPolicy as its contract has it in JSON; empty when it is not.';
COMMENT ON COLUMN course.require_etag IS 'Whether a change of what somebody may have changed meanwhile has to name the version it is based on.';
COMMENT ON COLUMN course.edited_by IS 'Which account changed the landing page of the draft last, and edited_at when.';
COMMENT ON COLUMN course.closed IS 'Whether it is archived and learners do not see it any more.';
COMMENT ON COLUMN course.review_changes IS 'draft.changes of what was submitted last.';
COMMENT ON COLUMN course.review_passed IS 'Whether it may come into the marketplace without another review.';

CREATE TABLE course_import (
	id text COLLATE "C" NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	course_id text COLLATE "C" NOT NULL DEFAULT ''::text,
	staging_id text COLLATE "C" NOT NULL,
	dry_run boolean NOT NULL,
	node text NOT NULL DEFAULT ''::text,
	source_course_id text COLLATE "C" NOT NULL DEFAULT ''::text,
	source_media_id text COLLATE "C" NOT NULL DEFAULT ''::text,
	size bigint NOT NULL,
	sha256 text NOT NULL,
	state text NOT NULL DEFAULT 'queued'::text,
	code text NOT NULL DEFAULT ''::text,
	attempts integer NOT NULL DEFAULT 0,
	lease text NOT NULL DEFAULT ''::text,
	next_at timestamp with time zone NOT NULL,
	modules integer NOT NULL DEFAULT 0,
	lessons integer NOT NULL DEFAULT 0,
	media_files integer NOT NULL DEFAULT 0,
	media_done integer NOT NULL DEFAULT 0,
	findings jsonb NOT NULL DEFAULT '[]'::jsonb,
	errors integer NOT NULL DEFAULT 0,
	warnings integer NOT NULL DEFAULT 0,
	created_at timestamp with time zone NOT NULL,
	finished_at timestamp with time zone,
	carries boolean NOT NULL DEFAULT false,
	CONSTRAINT course_import_pkey PRIMARY KEY (id),
	CONSTRAINT course_import_state CHECK ((state = ANY (ARRAY['queued'::text, 'running'::text, 'done'::text, 'failed'::text])))
);
CREATE INDEX course_import_account ON course_import USING btree (account_id, created_at DESC, id DESC);
CREATE INDEX course_import_due ON course_import USING btree (next_at, id) WHERE (state = ANY (ARRAY['queued'::text, 'running'::text]));
CREATE INDEX course_import_finished ON course_import USING btree (finished_at) WHERE (finished_at IS NOT NULL);
COMMENT ON TABLE course_import IS 'Archives on their way to be courses, kept for 30 days after their end. account_id says who sent one.';
COMMENT ON COLUMN course_import.course_id IS 'The course that gets the modules; empty for a new one until it is made.';
COMMENT ON COLUMN course_import.staging_id IS 'The course that the files are put into: the new one, or one that never comes to be.';
COMMENT ON COLUMN course_import.node IS 'Whose folder has the archive; empty where it is a file of a course.';
COMMENT ON COLUMN course_import.lease IS 'Which run works on it, until next_at unless it says that it still does.';
COMMENT ON COLUMN course_import.carries IS 'Whether quizzes and assignments may have been put into the staging course.';

CREATE TABLE course_origin (
	course_id text COLLATE "C" NOT NULL,
	origin_id text COLLATE "C" NOT NULL,
	source text NOT NULL,
	made_of text COLLATE "C" NOT NULL DEFAULT ''::text,
	CONSTRAINT course_origin_pkey PRIMARY KEY (course_id),
	CONSTRAINT course_origin_course FOREIGN KEY (course_id) REFERENCES course(id),
	CONSTRAINT course_origin_source CHECK ((source = ANY (ARRAY['archive'::text, 'copy'::text, 'template'::text])))
);
COMMENT ON TABLE course_origin IS 'Of which course those were made that were made of another. No personal data.';
COMMENT ON COLUMN course_origin.origin_id IS 'The course that its archives name: of an import the one that the archive named, of a copy its own.';
COMMENT ON COLUMN course_origin.made_of IS 'The course that a copy was made of.';

CREATE TABLE draft (
	course_id text COLLATE "C" NOT NULL,
	owner_id text COLLATE "C" NOT NULL,
	changes bigint NOT NULL DEFAULT 0,
	changed_at timestamp with time zone NOT NULL,
	archived boolean NOT NULL DEFAULT false,
	CONSTRAINT draft_pkey PRIMARY KEY (course_id),
	CONSTRAINT draft_course FOREIGN KEY (course_id) REFERENCES course(id)
);
CREATE INDEX draft_owner ON draft USING btree (owner_id, changed_at DESC, course_id DESC);
COMMENT ON TABLE draft IS 'How often and when the draft of each course was changed. A row apart from the course, so that who saves a lesson waits for nobody but who publishes. owner_id is that of the course.';
COMMENT ON COLUMN draft.archived IS 'Whether the course is archived, and nothing of the draft may change.';

CREATE TABLE import_node (
	id text NOT NULL,
	seen_at timestamp with time zone NOT NULL,
	CONSTRAINT import_node_pkey PRIMARY KEY (id)
);
COMMENT ON TABLE import_node IS 'The folders that archives are kept in, and when a process last had each. No personal data.';

CREATE TABLE item (
	id text COLLATE "C" NOT NULL,
	course_id text COLLATE "C" NOT NULL,
	parent_id text COLLATE "C" NOT NULL DEFAULT ''::text,
	kind text NOT NULL,
	"position" bigint NOT NULL,
	revision bigint NOT NULL DEFAULT 1,
	version_id bigint NOT NULL,
	edited_by text COLLATE "C" NOT NULL DEFAULT ''::text,
	edited_at timestamp with time zone,
	CONSTRAINT item_pkey PRIMARY KEY (id),
	CONSTRAINT item_course FOREIGN KEY (course_id) REFERENCES course(id),
	CONSTRAINT item_version_of FOREIGN KEY (version_id) REFERENCES item_version(id),
	CONSTRAINT item_kind CHECK ((kind = ANY (ARRAY['module'::text, 'lesson'::text, 'quiz'::text, 'assignment'::text]))),
	CONSTRAINT item_parent CHECK (((kind = 'module'::text) OR (parent_id <> ''::text)))
);
CREATE INDEX item_siblings ON item USING btree (course_id, parent_id, "position", id);
CREATE OR REPLACE FUNCTION note_item_revision()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
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
$function$;
CREATE TRIGGER item_added AFTER INSERT OR DELETE ON item FOR EACH ROW EXECUTE FUNCTION note_item_revision();
CREATE OR REPLACE FUNCTION note_item_revision()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
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
$function$;
CREATE TRIGGER item_changed AFTER UPDATE ON item FOR EACH ROW WHEN ((new.revision <> old.revision)) EXECUTE FUNCTION note_item_revision();
COMMENT ON TABLE item IS 'The draft: modules, and lessons, quizzes and assignments in modules, with the content they have now. No personal data.';
COMMENT ON COLUMN item.parent_id IS 'The module that it is in; empty at the top.';
COMMENT ON COLUMN item."position" IS 'Orders the siblings; there are gaps, so that one can be moved alone.';
COMMENT ON COLUMN item.edited_by IS 'Which account gave it another content last, and edited_at when; empty since it was made.';

CREATE TABLE item_revision (
	item_id text COLLATE "C" NOT NULL,
	revision bigint NOT NULL,
	course_id text COLLATE "C" NOT NULL,
	kind text NOT NULL,
	parent_id text COLLATE "C" NOT NULL,
	version_id bigint NOT NULL,
	removed boolean NOT NULL DEFAULT false,
	CONSTRAINT item_revision_pkey PRIMARY KEY (item_id, revision),
	CONSTRAINT item_revision_version FOREIGN KEY (version_id) REFERENCES item_version(id)
);
COMMENT ON TABLE item_revision IS 'What each item of a draft was at each of its revisions; removed at its last where it has left the draft. Written by a trigger, whatever changes an item. No personal data.';

CREATE TABLE item_version (
	id bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
	item_id text COLLATE "C" NOT NULL,
	title text NOT NULL,
	preview boolean NOT NULL,
	body jsonb NOT NULL,
	author_id text COLLATE "C" NOT NULL,
	created_at timestamp with time zone NOT NULL,
	settings jsonb NOT NULL DEFAULT '{}'::jsonb,
	activity_ref text NOT NULL DEFAULT ''::text,
	playable_media_ids text[] NOT NULL DEFAULT '{}'::text[],
	number integer NOT NULL DEFAULT 0,
	hash bytea,
	CONSTRAINT item_version_pkey PRIMARY KEY (id)
);
CREATE UNIQUE INDEX item_version_hash ON item_version USING btree (item_id, hash);
CREATE UNIQUE INDEX item_version_number ON item_version USING btree (item_id, number) WHERE (number > 0);
CREATE INDEX item_version_of_item ON item_version USING btree (item_id, id);
COMMENT ON TABLE item_version IS 'Every content that an item ever had, each once. Rows are never changed. author_id says which account wrote it first.';
COMMENT ON COLUMN item_version.settings IS 'ItemSettings as their contract has them in JSON, without what is usual.';
COMMENT ON COLUMN item_version.activity_ref IS 'The quiz or assignment that it stands for, as assessment names it.';
COMMENT ON COLUMN item_version.playable_media_ids IS 'The video and audio files in body.';
COMMENT ON COLUMN item_version.number IS 'Counts the contents of an item from 1; 0 in rows of programs of before.';
COMMENT ON COLUMN item_version.hash IS 'SHA-256 of the content in its canonical form (hash.go); absent in rows of programs of before, and where an older row has the same content.';

CREATE TABLE media_claim (
	id text COLLATE "C" NOT NULL,
	caller text COLLATE "C" NOT NULL,
	key text NOT NULL,
	course_id text COLLATE "C" NOT NULL,
	from_course_id text COLLATE "C" NOT NULL DEFAULT ''::text,
	batches jsonb NOT NULL DEFAULT '[]'::jsonb,
	state text NOT NULL DEFAULT 'open'::text,
	due_at timestamp with time zone NOT NULL,
	CONSTRAINT media_claim_pkey PRIMARY KEY (id),
	CONSTRAINT media_claim_key UNIQUE (caller, key),
	CONSTRAINT media_claim_state CHECK ((state = ANY (ARRAY['open'::text, 'done'::text, 'abandoned'::text])))
);
CREATE INDEX media_claim_due ON media_claim USING btree (due_at);
COMMENT ON TABLE media_claim IS 'Files that media was asked to make for what is not there yet: they are deleted unless it comes to be. caller says which account asked.';
COMMENT ON COLUMN media_claim.key IS 'What was asked for: a repetition finds the course that it was asked for before.';
COMMENT ON COLUMN media_claim.batches IS 'Lists of files of from_course_id that a course got copies of, which others belong to as well; empty where all that course_id has is to go.';
COMMENT ON COLUMN media_claim.due_at IS 'When one that is open is abandoned, and one that is done forgotten.';

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
	time_zone text NOT NULL DEFAULT 'UTC'::text,
	audience text[] NOT NULL DEFAULT '{}'::text[],
	promo_video_media_id text COLLATE "C" NOT NULL DEFAULT ''::text,
	faq jsonb NOT NULL DEFAULT '[]'::jsonb,
	release jsonb NOT NULL DEFAULT '{}'::jsonb,
	grading jsonb NOT NULL DEFAULT '{}'::jsonb,
	reverted_to integer NOT NULL DEFAULT 0,
	gates text,
	needs jsonb NOT NULL DEFAULT '{}'::jsonb,
	CONSTRAINT publication_pkey PRIMARY KEY (course_id, number),
	CONSTRAINT publication_course FOREIGN KEY (course_id) REFERENCES course(id),
	CONSTRAINT publication_gates CHECK ((gates = ANY (ARRAY['none'::text, 'lock'::text, 'hide'::text])))
);
COMMENT ON TABLE publication IS 'What was published, with the landing page as it was. Rows are never changed. author_id says which account published.';
COMMENT ON COLUMN publication.reverted_to IS 'The version that it is again what it was; 0 where it is the draft of then.';
COMMENT ON COLUMN publication.gates IS 'What rules and schedules in it can do to somebody: nothing, lock a part, or hide one; absent in rows of programs of before, of which it is not known.';
COMMENT ON COLUMN publication.needs IS 'Which courses have to be completed before it can be: a rule of "all" and "any" of courses; {} for none. Rows of programs of before may have other conditions in it, which are passed over.';

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
CREATE INDEX publication_item_of_version ON publication_item USING btree (version_id, number);
COMMENT ON TABLE publication_item IS 'The modules and lessons of what was published, with their content then. Rows are never changed. No personal data.';
COMMENT ON COLUMN publication_item."position" IS 'The place among the siblings, from 0, without gaps.';

CREATE TABLE rendering (
	version_id bigint NOT NULL,
	renderer integer NOT NULL,
	html jsonb NOT NULL,
	CONSTRAINT rendering_pkey PRIMARY KEY (version_id),
	CONSTRAINT rendering_version FOREIGN KEY (version_id) REFERENCES item_version(id)
);
COMMENT ON TABLE rendering IS 'The HTML of the blocks of a content, in their order, made once; made again when the program makes other HTML than that of the number. No personal data.';

CREATE TABLE revenue_split (
	course_id text COLLATE "C" NOT NULL,
	version integer NOT NULL,
	valid_from timestamp with time zone NOT NULL,
	shares jsonb NOT NULL,
	author_id text COLLATE "C" NOT NULL,
	created_at timestamp with time zone NOT NULL,
	CONSTRAINT revenue_split_pkey PRIMARY KEY (course_id, version),
	CONSTRAINT revenue_split_course FOREIGN KEY (course_id) REFERENCES course(id)
);
COMMENT ON TABLE revenue_split IS 'How what a course earns is shared among its staff: each row as it was set, never changed. Personal data: shares names accounts and what part each gets, author_id who set it. Kept for the accounts.';

CREATE TABLE review (
	id text COLLATE "C" NOT NULL,
	course_id text COLLATE "C" NOT NULL,
	draft_changes bigint NOT NULL,
	state text NOT NULL,
	message text NOT NULL,
	submitted_by text COLLATE "C" NOT NULL,
	submitted_at timestamp with time zone NOT NULL,
	comment text NOT NULL DEFAULT ''::text,
	remarks jsonb NOT NULL DEFAULT '[]'::jsonb,
	reviewer_id text COLLATE "C" NOT NULL DEFAULT ''::text,
	reviewed_at timestamp with time zone,
	CONSTRAINT review_pkey PRIMARY KEY (id),
	CONSTRAINT review_course FOREIGN KEY (course_id) REFERENCES course(id),
	CONSTRAINT review_state CHECK ((state = ANY (ARRAY['submitted'::text, 'approved'::text, 'returned'::text, 'superseded'::text])))
);
CREATE INDEX review_of_course ON review USING btree (course_id, submitted_at DESC, id DESC);
CREATE UNIQUE INDEX review_open ON review USING btree (course_id) WHERE (state = 'submitted'::text);
CREATE INDEX review_queue ON review USING btree (submitted_at, id) WHERE (state = 'submitted'::text);
COMMENT ON TABLE review IS 'What was submitted for review and what became of it. Personal data of staff: submitted_by and reviewer_id say which accounts. Kept as long as the course.';

CREATE TABLE template (
	course_id text COLLATE "C" NOT NULL,
	visibility text NOT NULL,
	marked_by text COLLATE "C" NOT NULL,
	marked_at timestamp with time zone NOT NULL,
	CONSTRAINT template_pkey PRIMARY KEY (course_id),
	CONSTRAINT template_course FOREIGN KEY (course_id) REFERENCES course(id),
	CONSTRAINT template_visibility CHECK ((visibility = ANY (ARRAY['own'::text, 'platform'::text])))
);
CREATE INDEX template_platform ON template USING btree (marked_at DESC, course_id DESC) WHERE (visibility = 'platform'::text);
COMMENT ON TABLE template IS 'Courses that others are made of. marked_by says which account said so.';
