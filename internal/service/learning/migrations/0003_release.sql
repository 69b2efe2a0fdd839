-- +goose Up

ALTER TABLE learner
	ADD COLUMN enrollment_version bigint NOT NULL DEFAULT 0,
	ADD COLUMN ended boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN learner.enrollment_version IS 'Of what access told last of the enrollment; 1 for that it started.';
COMMENT ON COLUMN learner.ended IS 'Whether the enrollment is over. It may go on again.';

CREATE TABLE item_result (
	course_id text COLLATE "C" NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	item_id text COLLATE "C" NOT NULL,
	submitted_at timestamptz,
	percent numeric(16, 4),
	passed boolean NOT NULL,
	version bigint NOT NULL,
	CONSTRAINT item_result_pkey PRIMARY KEY (course_id, account_id, item_id)
);
COMMENT ON TABLE item_result IS 'What somebody has reached in a quiz or an assignment, as far as they may know it themselves, as the service assessment told it. Personal data of the account: their posted scores. Kept as long as the account.';
COMMENT ON COLUMN item_result.percent IS 'The posted score; null where none is.';

CREATE TABLE cohort (
	cohort_id text COLLATE "C" NOT NULL,
	course_id text COLLATE "C" NOT NULL,
	name text NOT NULL,
	starts_at timestamptz NOT NULL,
	version bigint NOT NULL,
	CONSTRAINT cohort_pkey PRIMARY KEY (cohort_id)
);
COMMENT ON TABLE cohort IS 'When cohorts start, as the service access told it. No personal data.';

CREATE TABLE course_group (
	group_id text COLLATE "C" NOT NULL,
	course_id text COLLATE "C" NOT NULL,
	name text NOT NULL,
	deleted boolean NOT NULL,
	version bigint NOT NULL,
	CONSTRAINT course_group_pkey PRIMARY KEY (group_id)
);
COMMENT ON TABLE course_group IS 'The groups of courses, as the service access told it. No personal data.';

CREATE TABLE group_member (
	course_id text COLLATE "C" NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	group_id text COLLATE "C" NOT NULL,
	version bigint NOT NULL,
	member boolean NOT NULL,
	CONSTRAINT group_member_pkey PRIMARY KEY (course_id, account_id, group_id)
);
COMMENT ON TABLE group_member IS 'Who is in which group of a course, and who was, as the service access told it. Personal data of the account. Kept as long as the account.';
CREATE INDEX group_member_of ON group_member (course_id, group_id, account_id) WHERE member;

CREATE TABLE course_role (
	course_id text COLLATE "C" NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	role text COLLATE "C" NOT NULL,
	version bigint NOT NULL,
	granted boolean NOT NULL,
	expires_at timestamptz,
	CONSTRAINT course_role_pkey PRIMARY KEY (course_id, account_id, role)
);
COMMENT ON TABLE course_role IS 'Who has which role in a whole course, and who had, as the service access told it. Personal data of the account. Kept as long as the account.';

CREATE TABLE deadline_override (
	course_id text COLLATE "C" NOT NULL,
	item_id text COLLATE "C" NOT NULL,
	target_id text COLLATE "C" NOT NULL,
	available_from bytea,
	due bytea,
	until bytea,
	set_by text COLLATE "C" NOT NULL,
	set_at timestamptz NOT NULL,
	revision bigint NOT NULL,
	CONSTRAINT deadline_override_pkey PRIMARY KEY (course_id, item_id, target_id),
	CONSTRAINT deadline_override_says CHECK (available_from IS NOT NULL OR due IS NOT NULL OR until IS NOT NULL)
);
CREATE INDEX deadline_override_target ON deadline_override (course_id, target_id, item_id);
COMMENT ON TABLE deadline_override IS 'Deadlines of an item for an account, a group or a cohort. Personal data of the account where it is for one. Kept as long as the account.';
COMMENT ON COLUMN deadline_override.due IS 'A stoa.learning.v1.MomentOverride, as the other two; null for as it is otherwise.';

CREATE TABLE effective_deadline (
	course_id text COLLATE "C" NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	item_id text COLLATE "C" NOT NULL,
	available_from timestamptz,
	available_from_source text COLLATE "C" NOT NULL,
	due timestamptz,
	due_source text COLLATE "C" NOT NULL,
	until timestamptz,
	until_source text COLLATE "C" NOT NULL,
	extra_days integer NOT NULL,
	CONSTRAINT effective_deadline_pkey PRIMARY KEY (course_id, account_id, item_id)
) WITH (fillfactor = 85);
CREATE INDEX effective_deadline_due ON effective_deadline (account_id, due, course_id, item_id) WHERE due IS NOT NULL;
CREATE INDEX effective_deadline_item ON effective_deadline (course_id, item_id, account_id);
COMMENT ON TABLE effective_deadline IS 'When an item can be worked on for each learner, for the items of the version they see that have a schedule or an override. Made of the schedules, the overrides and what access told; can be made anew at any time. Personal data of the account. Kept as long as the account.';
COMMENT ON COLUMN effective_deadline.due_source IS 'What says so, as of the other two: empty for nothing, course, person, due, or the id of a group or a cohort.';
COMMENT ON COLUMN effective_deadline.extra_days IS 'By how many days due and until are eased, which is in them.';

CREATE TABLE deadline_task (
	course_id text COLLATE "C" NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	after_id text COLLATE "C" NOT NULL DEFAULT '',
	queued bigint GENERATED ALWAYS AS IDENTITY,
	CONSTRAINT deadline_task_pkey PRIMARY KEY (course_id, account_id)
);
CREATE INDEX deadline_task_queue ON deadline_task (queued);
COMMENT ON TABLE deadline_task IS 'Whose effective deadlines are to be made anew. Personal data of the account for a moment.';
COMMENT ON COLUMN deadline_task.account_id IS 'Empty for all of the course; then after_id is how far that is.';
INSERT INTO deadline_task (course_id, account_id) SELECT course_id, '' FROM course;

CREATE TABLE ease (
	account_id text COLLATE "C" NOT NULL,
	course_id text COLLATE "C" NOT NULL,
	extra_days integer NOT NULL,
	CONSTRAINT ease_pkey PRIMARY KEY (account_id, course_id)
);
COMMENT ON TABLE ease IS 'By how many days deadlines are eased for somebody in a course, where they are, as the service access answered. Personal data of the account, which may tell of their health. Kept as long as the account.';

CREATE TABLE ease_task (
	account_id text COLLATE "C" NOT NULL,
	course_id text COLLATE "C" NOT NULL,
	queued bigint GENERATED ALWAYS AS IDENTITY,
	CONSTRAINT ease_task_pkey PRIMARY KEY (account_id, course_id)
);
CREATE INDEX ease_task_queue ON ease_task (queued);
COMMENT ON TABLE ease_task IS 'Of whom access is to be asked how deadlines are eased. Personal data of the account for a moment.';
COMMENT ON COLUMN ease_task.queued IS 'Another one with each reason to ask, so that an answer from before is told.';
INSERT INTO ease_task (account_id, course_id) SELECT account_id, course_id FROM learner WHERE enrolled_at IS NOT NULL;
