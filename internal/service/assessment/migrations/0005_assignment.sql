-- +goose Up

CREATE TABLE assignment (
	id text COLLATE "C" NOT NULL,
	course_id text COLLATE "C" NOT NULL,
	title text NOT NULL,
	draft bytea NOT NULL,
	revision bigint NOT NULL DEFAULT 1,
	published_revision bigint NOT NULL DEFAULT 0,
	version integer NOT NULL DEFAULT 0,
	edited_by text COLLATE "C" NOT NULL,
	edited_at timestamptz NOT NULL,
	created_by text COLLATE "C" NOT NULL,
	created_at timestamptz NOT NULL,
	updated_at timestamptz NOT NULL,
	copied_from text COLLATE "C" NOT NULL DEFAULT '',
	deleted_at timestamptz,
	CONSTRAINT assignment_pkey PRIMARY KEY (id)
);
COMMENT ON TABLE assignment IS 'The assignments of courses, as their authors are changing them. Personal data of the accounts that made one and changed it last: their ids. Kept as long as the course.';
COMMENT ON COLUMN assignment.draft IS 'The stoa.assessment.v1.AssignmentSettings that are edited, in binary form.';
COMMENT ON COLUMN assignment.version IS 'The version that is handed in to; 0 while there is none.';
CREATE INDEX assignment_of_course ON assignment (course_id, id) WHERE deleted_at IS NULL;

CREATE TABLE assignment_version (
	assignment_id text COLLATE "C" NOT NULL,
	version integer NOT NULL,
	title text NOT NULL,
	settings bytea NOT NULL,
	message text NOT NULL DEFAULT '',
	created_by text COLLATE "C" NOT NULL,
	created_at timestamptz NOT NULL,
	CONSTRAINT assignment_version_pkey PRIMARY KEY (assignment_id, version),
	CONSTRAINT assignment_version_assignment FOREIGN KEY (assignment_id) REFERENCES assignment (id)
);
COMMENT ON TABLE assignment_version IS 'What of an assignment was published, never changed: what is handed in names one. Personal data of the account that published it: its id. Kept as long as the assignment.';

CREATE TABLE person (
	account_id text COLLATE "C" NOT NULL,
	name text NOT NULL,
	version bigint NOT NULL,
	CONSTRAINT person_pkey PRIMARY KEY (account_id)
);
COMMENT ON TABLE person IS 'What people are called, as the service identity told it, for those who read what they hand in. Personal data of the account: its name. Kept as long as the account.';

CREATE TABLE course_group (
	group_id text COLLATE "C" NOT NULL,
	course_id text COLLATE "C" NOT NULL,
	name text NOT NULL,
	deleted boolean NOT NULL,
	version bigint NOT NULL,
	CONSTRAINT course_group_pkey PRIMARY KEY (group_id)
);
CREATE INDEX course_group_of ON course_group (course_id, group_id) WHERE NOT deleted;
COMMENT ON TABLE course_group IS 'The groups of courses, as the service access told it. No personal data.';

CREATE TABLE group_member (
	group_id text COLLATE "C" NOT NULL,
	course_id text COLLATE "C" NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	member boolean NOT NULL,
	version bigint NOT NULL,
	CONSTRAINT group_member_pkey PRIMARY KEY (group_id, account_id)
);
CREATE INDEX group_member_of ON group_member (course_id, account_id) WHERE member;
COMMENT ON TABLE group_member IS 'Who is in the groups of courses, as the service access told it. Personal data of the account: that it is in a group, or was. Kept as long as the course.';

CREATE TABLE cohort_member (
	course_id text COLLATE "C" NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	cohort_id text COLLATE "C" NOT NULL,
	version bigint NOT NULL,
	CONSTRAINT cohort_member_pkey PRIMARY KEY (course_id, account_id)
);
COMMENT ON TABLE cohort_member IS 'In which cohort of a course somebody is, as the service access told it; an empty cohort is none. Personal data of the account: its cohort. Kept as long as the course.';

ALTER TABLE placement ADD COLUMN salt bytea NOT NULL DEFAULT uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid());
COMMENT ON COLUMN placement.salt IS 'What pseudonyms at the item are made with, so that they are the same each time and tell nothing.';

CREATE TABLE submission (
	id text COLLATE "C" NOT NULL,
	course_id text COLLATE "C" NOT NULL,
	item_id text COLLATE "C" NOT NULL,
	assignment_id text COLLATE "C" NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	group_id text COLLATE "C" NOT NULL,
	draft bytea,
	draft_revision bigint NOT NULL DEFAULT 0,
	draft_by text COLLATE "C" NOT NULL DEFAULT '',
	draft_at timestamptz,
	last_number integer NOT NULL DEFAULT 0,
	number integer NOT NULL DEFAULT 0,
	returns integer NOT NULL DEFAULT 0,
	returned boolean NOT NULL DEFAULT false,
	returned_note text NOT NULL DEFAULT '',
	returned_by text COLLATE "C" NOT NULL DEFAULT '',
	returned_at timestamptz,
	created_at timestamptz NOT NULL,
	updated_at timestamptz NOT NULL,
	CONSTRAINT submission_pkey PRIMARY KEY (id),
	CONSTRAINT submission_of UNIQUE (assignment_id, item_id, account_id, group_id),
	CONSTRAINT submission_one CHECK ((account_id = '') <> (group_id = '')),
	CONSTRAINT submission_draft CHECK ((draft IS NULL) = (draft_at IS NULL))
);
CREATE INDEX submission_at ON submission (item_id, assignment_id);
COMMENT ON TABLE submission IS 'What somebody, or a group, drafts and hands in at an item. Personal data of those who do: their work, and when they worked on it. Kept as grades of record as long as the course; on erasure the account becomes a pseudonym.';
COMMENT ON COLUMN submission.account_id IS 'Whose it is; empty where it is a group''s.';
COMMENT ON COLUMN submission.draft IS 'The stoa.assessment.v1.SubmissionContent that is not handed in yet, in binary form; null for none.';
COMMENT ON COLUMN submission.draft_revision IS 'Grows with each change of the draft, also when it goes.';
COMMENT ON COLUMN submission.last_number IS 'The number of the version handed in last, taken back or not.';
COMMENT ON COLUMN submission.number IS 'The same of those that were not taken back; 0 for none.';
COMMENT ON COLUMN submission.returns IS 'How often it was given back to be done again: as many attempts come on top.';
COMMENT ON COLUMN submission.returned IS 'Whether it is to be done again, and was not since.';

CREATE TABLE submission_version (
	submission_id text COLLATE "C" NOT NULL,
	number integer NOT NULL,
	assignment_version integer NOT NULL,
	content bytea NOT NULL,
	words integer NOT NULL,
	hash bytea NOT NULL,
	statement_accepted boolean NOT NULL,
	submitted_by text COLLATE "C" NOT NULL,
	submitted_at timestamptz NOT NULL,
	withdrawn_by text COLLATE "C" NOT NULL DEFAULT '',
	withdrawn_at timestamptz,
	mark_revision bigint NOT NULL DEFAULT 0,
	points numeric(20, 6),
	max_points numeric(20, 6) NOT NULL,
	marked_by text COLLATE "C" NOT NULL DEFAULT '',
	marked_at timestamptz,
	CONSTRAINT submission_version_pkey PRIMARY KEY (submission_id, number),
	CONSTRAINT submission_version_submission FOREIGN KEY (submission_id) REFERENCES submission (id)
);
COMMENT ON TABLE submission_version IS 'What was handed in at a time. Its content is never changed; whether it was taken back and the mark that holds are. Personal data of those who handed it in: their work. Kept with the submission.';
COMMENT ON COLUMN submission_version.content IS 'The stoa.assessment.v1.SubmissionContent, in binary form.';
COMMENT ON COLUMN submission_version.hash IS 'The SHA-256 of its canonical form.';
COMMENT ON COLUMN submission_version.mark_revision IS 'The mark that holds; 0 for none.';
COMMENT ON COLUMN submission_version.points IS 'What the mark that holds gives; null where it is none.';
COMMENT ON COLUMN submission_version.max_points IS 'The points of the version of the assignment that it was handed in to.';

CREATE TABLE submission_member (
	submission_id text COLLATE "C" NOT NULL,
	number integer NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	item_id text COLLATE "C" NOT NULL,
	due_at timestamptz,
	late_seconds bigint NOT NULL DEFAULT 0,
	CONSTRAINT submission_member_pkey PRIMARY KEY (submission_id, number, account_id),
	CONSTRAINT submission_member_version FOREIGN KEY (submission_id, number) REFERENCES submission_version (submission_id, number)
);
CREATE INDEX submission_member_of ON submission_member (item_id, account_id);
COMMENT ON TABLE submission_member IS 'Of whom a version is that was handed in, as that was then, and how late it is for each. Personal data of the account: that it handed it in, and how late. Kept with the submission.';
COMMENT ON COLUMN submission_member.due_at IS 'When it was due for the account, as was known when lateness was computed last; null for never.';

CREATE TABLE submission_mark (
	submission_id text COLLATE "C" NOT NULL,
	number integer NOT NULL,
	revision bigint NOT NULL,
	points numeric(20, 6),
	comment text NOT NULL,
	comments bytea,
	source text COLLATE "C" NOT NULL DEFAULT 'marking',
	marked_by text COLLATE "C" NOT NULL,
	marked_at timestamptz NOT NULL,
	CONSTRAINT submission_mark_pkey PRIMARY KEY (submission_id, number, revision),
	CONSTRAINT submission_mark_version FOREIGN KEY (submission_id, number) REFERENCES submission_version (submission_id, number)
);
COMMENT ON TABLE submission_mark IS 'The marks that a version has had, never changed: the newest holds. Personal data of those who handed it in (their mark and what is said of their work) and of who marked it. Kept with the submission.';
COMMENT ON COLUMN submission_mark.comments IS 'A stoa.assessment.v1.SubmissionMark with the remarks on parts alone, in binary form; null for none.';
COMMENT ON COLUMN submission_mark.source IS 'What made it: marking by somebody, or what the service makes of several.';

CREATE TABLE submission_file (
	media_id text COLLATE "C" NOT NULL,
	submission_id text COLLATE "C" NOT NULL,
	course_id text COLLATE "C" NOT NULL,
	number integer NOT NULL DEFAULT 0,
	purpose text COLLATE "C" NOT NULL,
	state text COLLATE "C" NOT NULL,
	told boolean NOT NULL DEFAULT false,
	filename text NOT NULL,
	content_type text NOT NULL,
	size bigint NOT NULL,
	sha256 text COLLATE "C" NOT NULL,
	added_by text COLLATE "C" NOT NULL,
	added_at timestamptz NOT NULL,
	CONSTRAINT submission_file_pkey PRIMARY KEY (media_id),
	CONSTRAINT submission_file_submission FOREIGN KEY (submission_id) REFERENCES submission (id),
	CONSTRAINT submission_file_purpose CHECK (purpose IN ('submission', 'feedback')),
	CONSTRAINT submission_file_state CHECK (state IN ('draft', 'kept', 'dropped', 'gone'))
);
CREATE INDEX submission_file_of ON submission_file (submission_id, number);
CREATE INDEX submission_file_dropped ON submission_file (course_id, media_id) WHERE state = 'dropped';
CREATE INDEX submission_file_untold ON submission_file (added_at) WHERE NOT told AND state IN ('draft', 'kept');
COMMENT ON TABLE submission_file IS 'The files of what is drafted, handed in and given back; each is of one submission. Personal data of those who uploaded them: their work, by its name. Kept with the submission.';
COMMENT ON COLUMN submission_file.number IS 'The version that feedback is of; 0 of what is handed in, which versions name.';
COMMENT ON COLUMN submission_file.told IS 'Whether the service media was told to keep it.';
COMMENT ON COLUMN submission_file.state IS 'draft: only the draft has it. kept: a version has it, or it is feedback. dropped: to be deleted. gone: deleted, and never to be named again.';

CREATE TABLE assignment_mark (
	course_id text COLLATE "C" NOT NULL,
	item_id text COLLATE "C" NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	assignment_id text COLLATE "C" NOT NULL DEFAULT '',
	assignment_version integer NOT NULL DEFAULT 0,
	state text COLLATE "C" NOT NULL DEFAULT 'none',
	source_id text COLLATE "C" NOT NULL DEFAULT '',
	source_number integer NOT NULL DEFAULT 0,
	points text COLLATE "C" NOT NULL DEFAULT '',
	max_points text COLLATE "C" NOT NULL DEFAULT '',
	submitted_at timestamptz,
	late_seconds bigint NOT NULL DEFAULT 0,
	attempts integer NOT NULL DEFAULT 0,
	marked_by text COLLATE "C" NOT NULL DEFAULT '',
	version bigint NOT NULL DEFAULT 0,
	first_submitted_at timestamptz,
	result_version bigint NOT NULL DEFAULT 0,
	CONSTRAINT assignment_mark_pkey PRIMARY KEY (course_id, item_id, account_id),
	CONSTRAINT assignment_mark_state CHECK (state IN ('none', 'submitted', 'marked'))
);
CREATE INDEX assignment_mark_of ON assignment_mark (assignment_id, assignment_version);
COMMENT ON TABLE assignment_mark IS 'What counts of what somebody handed in at an item, as the gradebook was told last. Personal data of the account: its mark. Kept as grades of record as long as the course.';
COMMENT ON COLUMN assignment_mark.assignment_version IS 'The version whose settings made it.';
COMMENT ON COLUMN assignment_mark.version IS 'Of the MarkChanged that told it.';
COMMENT ON COLUMN assignment_mark.result_version IS 'Of the ActivityResultChanged that told first_submitted_at.';

CREATE TABLE assignment_remark (
	assignment_id text COLLATE "C" NOT NULL,
	CONSTRAINT assignment_remark_pkey PRIMARY KEY (assignment_id)
);
COMMENT ON TABLE assignment_remark IS 'Assignments that were published anew, whose marks follow. Gone once they have. No personal data.';

CREATE TABLE similarity_check (
	id text COLLATE "C" NOT NULL,
	submission_id text COLLATE "C" NOT NULL,
	number integer NOT NULL,
	state text COLLATE "C" NOT NULL DEFAULT 'waiting',
	tries integer NOT NULL DEFAULT 0,
	next_at timestamptz NOT NULL,
	percent numeric(5, 2),
	report_url text NOT NULL DEFAULT '',
	problem text COLLATE "C" NOT NULL DEFAULT '',
	requested_at timestamptz NOT NULL,
	requested_by text COLLATE "C" NOT NULL DEFAULT '',
	reported_at timestamptz,
	report_time bigint NOT NULL DEFAULT 0,
	CONSTRAINT similarity_check_pkey PRIMARY KEY (id),
	CONSTRAINT similarity_check_version FOREIGN KEY (submission_id, number) REFERENCES submission_version (submission_id, number),
	CONSTRAINT similarity_check_state CHECK (state IN ('waiting', 'sent', 'done', 'failed'))
);
CREATE INDEX similarity_check_of ON similarity_check (submission_id, number, id DESC);
CREATE INDEX similarity_check_next ON similarity_check (next_at) WHERE state IN ('waiting', 'sent');
COMMENT ON TABLE similarity_check IS 'What is compared with others'' work, and what was found. Personal data of those whose work it is. Kept with the submission.';
COMMENT ON COLUMN similarity_check.next_at IS 'When it is sent next, or given up waiting for its report. Who works on it moves it on.';

CREATE TABLE assignment_due (
	course_id text COLLATE "C" NOT NULL,
	item_id text COLLATE "C" NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	queued bigint NOT NULL GENERATED BY DEFAULT AS IDENTITY,
	CONSTRAINT assignment_due_pkey PRIMARY KEY (course_id, item_id, account_id)
);
CREATE INDEX assignment_due_queued ON assignment_due (queued);
COMMENT ON TABLE assignment_due IS 'Whose due dates have changed at an assignment to which they have handed in, until they were asked for. Personal data: the id of the account.';
