-- What the migrations make of the schema "grades". Generated; do not edit:
-- bin/testservers -only postgres -- go test ./internal/app -run TestSchemaDumps -update

CREATE TABLE account (
	account_id text COLLATE "C" NOT NULL,
	name text NOT NULL,
	version bigint NOT NULL,
	CONSTRAINT account_pkey PRIMARY KEY (account_id)
);
COMMENT ON TABLE account IS 'Names to list students by, as the service identity told them. Personal data of the account. Kept as long as the account.';

CREATE TABLE cell (
	course_id text COLLATE "C" NOT NULL,
	item_id text COLLATE "C" NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	source_id text COLLATE "C" NOT NULL DEFAULT ''::text,
	state text COLLATE "C" NOT NULL DEFAULT 'none'::text,
	points numeric(20,6),
	max_points numeric(20,6),
	submitted_at timestamp with time zone,
	late_seconds bigint NOT NULL DEFAULT 0,
	attempts integer NOT NULL DEFAULT 0,
	marked_by text COLLATE "C" NOT NULL DEFAULT ''::text,
	marked_at timestamp with time zone,
	mark_version bigint NOT NULL DEFAULT 0,
	overdue boolean NOT NULL DEFAULT false,
	override numeric(20,6),
	override_by text COLLATE "C" NOT NULL DEFAULT ''::text,
	override_reason text NOT NULL DEFAULT ''::text,
	status text COLLATE "C" NOT NULL DEFAULT ''::text,
	status_late bigint NOT NULL DEFAULT 0,
	status_by text COLLATE "C" NOT NULL DEFAULT ''::text,
	status_reason text NOT NULL DEFAULT ''::text,
	feedback text NOT NULL DEFAULT ''::text,
	feedback_by text COLLATE "C" NOT NULL DEFAULT ''::text,
	posted boolean,
	posted_at timestamp with time zone,
	score numeric,
	counted text COLLATE "C" NOT NULL DEFAULT ''::text,
	told_percent text COLLATE "C" NOT NULL DEFAULT ''::text,
	told_passed boolean NOT NULL DEFAULT false,
	told_version bigint NOT NULL DEFAULT 0,
	seq bigint NOT NULL,
	anonymous boolean,
	others jsonb,
	CONSTRAINT cell_pkey PRIMARY KEY (course_id, account_id, item_id),
	CONSTRAINT cell_marked CHECK (((state = 'marked'::text) = (points IS NOT NULL))),
	CONSTRAINT cell_state CHECK ((state = ANY (ARRAY['none'::text, 'submitted'::text, 'marked'::text, 'excused'::text]))),
	CONSTRAINT cell_status CHECK ((status = ANY (ARRAY[''::text, 'excused'::text, 'missing'::text, 'late'::text, 'on_time'::text])))
) WITH (fillfactor=85);
CREATE INDEX cell_of_item ON cell USING btree (course_id, item_id, account_id);
CREATE INDEX cell_seq ON cell USING btree (course_id, seq);
COMMENT ON TABLE cell IS 'What somebody has in an item: the mark, raw, as the service assessment or for columns of their own staff told it last; what staff put in its place; and what it counts. Personal data of the account: its marks, and what staff write about them. Kept as grades of record as long as the course; on erasure the account becomes a pseudonym.';
COMMENT ON COLUMN cell.points IS 'The raw mark out of max_points, never changed by what staff override.';
COMMENT ON COLUMN cell.overdue IS 'Whether the due date has passed for this person and nothing was handed in by then.';
COMMENT ON COLUMN cell.override IS 'Points of the item in place of what the mark would count.';
COMMENT ON COLUMN cell.status IS 'What staff say in place of the derived status: excused, missing, late (by status_late seconds) or on_time; empty for as it is derived.';
COMMENT ON COLUMN cell.posted IS 'Whether the student may see it; null while nobody and no policy has decided.';
COMMENT ON COLUMN cell.score IS 'The points that it counts, rounded to show; null for none. Totals are made of the exact ones.';
COMMENT ON COLUMN cell.counted IS 'What becomes of it in the current total.';
COMMENT ON COLUMN cell.told_percent IS 'What GradePosted told last, as the two that follow.';
COMMENT ON COLUMN cell.seq IS 'Of the change of the gradebook that changed it last: its version.';
COMMENT ON COLUMN cell.anonymous IS 'Whether those who mark may not know whose the mark is before it is posted; null for no.';
COMMENT ON COLUMN cell.others IS 'The attempts that could count in place of the mark once lateness has cost what it does, as list, and the version of the mark that told them; null for none.';

CREATE TABLE cohort_member (
	course_id text COLLATE "C" NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	cohort_id text COLLATE "C" NOT NULL,
	version bigint NOT NULL,
	CONSTRAINT cohort_member_pkey PRIMARY KEY (course_id, account_id)
);
CREATE INDEX cohort_member_of ON cohort_member USING btree (course_id, cohort_id, account_id);
COMMENT ON TABLE cohort_member IS 'In which cohort of a course somebody is, empty for none any more, as the service access told it. Personal data of the account. Kept as long as the account.';

CREATE TABLE course (
	course_id text COLLATE "C" NOT NULL,
	sequence bigint NOT NULL,
	version integer NOT NULL,
	title text NOT NULL,
	criteria bytea,
	calculation integer NOT NULL,
	posting text COLLATE "C" NOT NULL DEFAULT 'automatic'::text,
	statistics boolean NOT NULL DEFAULT false,
	revision bigint NOT NULL DEFAULT 1,
	problem bytea,
	CONSTRAINT course_pkey PRIMARY KEY (course_id),
	CONSTRAINT course_posting CHECK ((posting = ANY (ARRAY['automatic'::text, 'manual'::text])))
);
COMMENT ON TABLE course IS 'How courses are graded: their criteria as the service courses told them with the version published last, and what staff set of the gradebook. No personal data.';
COMMENT ON COLUMN course.sequence IS 'Of the CoursePublished that the row is made of; 0 while none has come.';
COMMENT ON COLUMN course.criteria IS 'The stoa.courses.v1.GradingPolicy, in binary form; null for none: then all points count alike.';
COMMENT ON COLUMN course.calculation IS 'The version of the calculation that the course began with, and keeps.';
COMMENT ON COLUMN course.posting IS 'How grades of items that come new are posted.';
COMMENT ON COLUMN course.statistics IS 'Whether students see statistics of what is posted.';
COMMENT ON COLUMN course.revision IS 'Grows with each change of how grades are counted; made of rows of one revision, a calculation is always the same.';
COMMENT ON COLUMN course.problem IS 'What is wrong with the criteria, a stoa.grades.v1.GradingProblems; null when nothing is. While something is, totals are counted without what can''t be counted.';

CREATE TABLE course_clock (
	course_id text COLLATE "C" NOT NULL,
	seq bigint NOT NULL,
	CONSTRAINT course_clock_pkey PRIMARY KEY (course_id)
) WITH (fillfactor=50);
COMMENT ON TABLE course_clock IS 'The number of the last change of each gradebook. Its row is locked from the moment that a change takes a number until it is durable, so that numbers become visible in their order. No personal data.';

CREATE TABLE due_date (
	course_id text COLLATE "C" NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	item_id text COLLATE "C" NOT NULL,
	due_at timestamp with time zone NOT NULL,
	passed boolean NOT NULL,
	CONSTRAINT due_date_pkey PRIMARY KEY (course_id, account_id, item_id)
);
CREATE INDEX due_date_next ON due_date USING btree (due_at) WHERE (NOT passed);
COMMENT ON TABLE due_date IS 'By when what is due for whom, as the service learning answered, to know what is missing. Personal data of the account. Kept as long as the account.';
COMMENT ON COLUMN due_date.passed IS 'Whether it has passed and the cell says so.';

CREATE TABLE due_task (
	course_id text COLLATE "C" NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	after_id text COLLATE "C" NOT NULL DEFAULT ''::text,
	queued bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
	CONSTRAINT due_task_pkey PRIMARY KEY (course_id, account_id)
);
CREATE INDEX due_task_queue ON due_task USING btree (queued);
COMMENT ON TABLE due_task IS 'Of whom learning is to be asked by when what is due: an account, or all of a course where it is empty. Personal data of the account for a moment.';

CREATE TABLE grade_change (
	course_id text COLLATE "C" NOT NULL,
	seq bigint NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	item_id text COLLATE "C" NOT NULL,
	place text COLLATE "C" NOT NULL DEFAULT ''::text,
	kind text COLLATE "C" NOT NULL,
	before jsonb NOT NULL,
	after jsonb NOT NULL,
	source text COLLATE "C" NOT NULL,
	changed_by text COLLATE "C" NOT NULL,
	changed_at timestamp with time zone NOT NULL,
	reason text NOT NULL,
	batch_id text COLLATE "C" NOT NULL DEFAULT ''::text,
	undoes bigint NOT NULL DEFAULT 0,
	CONSTRAINT grade_change_pkey PRIMARY KEY (course_id, seq)
);
CREATE INDEX grade_change_batch ON grade_change USING btree (course_id, batch_id, seq) WHERE (batch_id <> ''::text);
CREATE INDEX grade_change_of ON grade_change USING btree (course_id, account_id, seq DESC);
CREATE INDEX grade_change_undo ON grade_change USING btree (course_id, undoes) WHERE (undoes > 0);
COMMENT ON TABLE grade_change IS 'The history of every cell and every override of a total, appended to and never changed. Personal data of the account: its grades, and what staff wrote about them. Kept as grades of record as long as the course; on erasure the account becomes a pseudonym.';
COMMENT ON COLUMN grade_change.place IS 'For overrides of totals: category and period, with a line feed between.';
COMMENT ON COLUMN grade_change.undoes IS 'The change that this one took back; 0 for none.';

CREATE TABLE grade_import (
	id text COLLATE "C" NOT NULL,
	course_id text COLLATE "C" NOT NULL,
	state text COLLATE "C" NOT NULL DEFAULT 'ready'::text,
	rows integer NOT NULL,
	changes integer NOT NULL,
	conflicts integer NOT NULL,
	refused integer NOT NULL,
	created_by text COLLATE "C" NOT NULL,
	created_at timestamp with time zone NOT NULL,
	delete_at timestamp with time zone NOT NULL,
	batch_id text COLLATE "C" NOT NULL DEFAULT ''::text,
	CONSTRAINT grade_import_pkey PRIMARY KEY (id),
	CONSTRAINT grade_import_state CHECK ((state = ANY (ARRAY['ready'::text, 'applied'::text, 'cancelled'::text])))
);
CREATE INDEX grade_import_gone ON grade_import USING btree (delete_at);
COMMENT ON TABLE grade_import IS 'Files of grades that were uploaded. Personal data of the account that did: its id. Kept for a week.';

CREATE TABLE grade_import_change (
	import_id text COLLATE "C" NOT NULL,
	n integer NOT NULL,
	line integer NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	item_id text COLLATE "C" NOT NULL,
	before text NOT NULL,
	after text NOT NULL,
	outcome text COLLATE "C" NOT NULL,
	code text COLLATE "C" NOT NULL,
	seq bigint NOT NULL,
	CONSTRAINT grade_import_change_pkey PRIMARY KEY (import_id, n),
	CONSTRAINT grade_import_change_import FOREIGN KEY (import_id) REFERENCES grade_import(id) ON DELETE CASCADE,
	CONSTRAINT grade_import_change_outcome CHECK ((outcome = ANY (ARRAY['change'::text, 'conflict'::text, 'refused'::text])))
);
COMMENT ON TABLE grade_import_change IS 'What files of grades would change. Personal data of the account whose grade it is. Kept with the file.';
COMMENT ON COLUMN grade_import_change.seq IS 'The version of the cell when the file was uploaded; 0 for none.';

CREATE TABLE group_member (
	course_id text COLLATE "C" NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	group_id text COLLATE "C" NOT NULL,
	member boolean NOT NULL,
	version bigint NOT NULL,
	CONSTRAINT group_member_pkey PRIMARY KEY (course_id, account_id, group_id)
);
CREATE INDEX group_member_of ON group_member USING btree (course_id, group_id, account_id) WHERE member;
COMMENT ON TABLE group_member IS 'Who is in which group of a course, and who was, as the service access told it. Personal data of the account. Kept as long as the account.';

CREATE TABLE item (
	course_id text COLLATE "C" NOT NULL,
	item_id text COLLATE "C" NOT NULL,
	source text COLLATE "C" NOT NULL,
	kind text COLLATE "C" NOT NULL,
	title text NOT NULL,
	"position" integer NOT NULL,
	present boolean NOT NULL,
	told_points numeric(20,6),
	told_at timestamp with time zone,
	points numeric(20,6),
	category text COLLATE "C" NOT NULL DEFAULT ''::text,
	period text COLLATE "C" NOT NULL DEFAULT ''::text,
	weight numeric(20,6),
	extra_credit boolean NOT NULL DEFAULT false,
	never_drop boolean NOT NULL DEFAULT false,
	excluded boolean NOT NULL DEFAULT false,
	formula text NOT NULL DEFAULT ''::text,
	pass_percent numeric(20,6),
	posting text COLLATE "C" NOT NULL,
	revision bigint NOT NULL DEFAULT 1,
	seq bigint NOT NULL DEFAULT 0,
	CONSTRAINT item_pkey PRIMARY KEY (course_id, item_id),
	CONSTRAINT item_posting CHECK ((posting = ANY (ARRAY['automatic'::text, 'manual'::text]))),
	CONSTRAINT item_source CHECK ((source = ANY (ARRAY['course'::text, 'staff'::text])))
);
CREATE INDEX item_seq ON item USING btree (course_id, seq);
COMMENT ON TABLE item IS 'The columns of gradebooks: quizzes, assignments and graded lessons of courses as the service courses told them, and those that staff made. No personal data.';
COMMENT ON COLUMN item.present IS 'Whether it counts: the version published last has it, or staff have not deleted it. Its marks are kept.';
COMMENT ON COLUMN item.told_points IS 'Out of how many points what was handed in last was marked, as the service assessment told it; points, set by staff, goes before it.';
COMMENT ON COLUMN item.told_at IS 'When that was handed in.';
COMMENT ON COLUMN item.category IS 'Of what staff made; that of others is in the criteria. So are period, weight and the like.';

CREATE TABLE recompute_task (
	course_id text COLLATE "C" NOT NULL,
	everybody boolean NOT NULL,
	after_id text COLLATE "C" NOT NULL DEFAULT ''::text,
	done integer NOT NULL DEFAULT 0,
	total integer NOT NULL DEFAULT 0,
	queued bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
	CONSTRAINT recompute_task_pkey PRIMARY KEY (course_id)
);
CREATE INDEX recompute_task_queue ON recompute_task USING btree (queued);
COMMENT ON TABLE recompute_task IS 'In which courses totals are to be counted anew: of everybody up from after_id, or of those who are stale. Personal data of an account for a moment: how far it is.';

CREATE TABLE section (
	section_id text COLLATE "C" NOT NULL,
	course_id text COLLATE "C" NOT NULL,
	kind text COLLATE "C" NOT NULL,
	name text NOT NULL,
	gone boolean NOT NULL,
	version bigint NOT NULL,
	CONSTRAINT section_pkey PRIMARY KEY (section_id)
);
CREATE INDEX section_of_course ON section USING btree (course_id);
COMMENT ON TABLE section IS 'The cohorts and groups of courses, by which grades are filtered and posted, as the service access told them. No personal data.';

CREATE TABLE student (
	course_id text COLLATE "C" NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	name text NOT NULL DEFAULT ''::text,
	sort_key text COLLATE "C" NOT NULL DEFAULT ''::text,
	enrolled boolean NOT NULL DEFAULT false,
	enrolled_at timestamp with time zone,
	enrollment_version bigint NOT NULL DEFAULT 0,
	stale boolean NOT NULL DEFAULT false,
	totals jsonb,
	told_percent text COLLATE "C" NOT NULL DEFAULT ''::text,
	told_letter text NOT NULL DEFAULT ''::text,
	told_passed boolean NOT NULL DEFAULT false,
	told_version bigint NOT NULL DEFAULT 0,
	revision bigint NOT NULL DEFAULT 0,
	seq bigint NOT NULL DEFAULT 0,
	CONSTRAINT student_pkey PRIMARY KEY (course_id, account_id)
) WITH (fillfactor=85);
CREATE INDEX student_by_name ON student USING btree (course_id, sort_key, account_id) WHERE (enrolled_at IS NOT NULL);
CREATE INDEX student_of_account ON student USING btree (account_id, course_id);
CREATE INDEX student_seq ON student USING btree (course_id, seq);
CREATE INDEX student_stale ON student USING btree (course_id, account_id) WHERE stale;
COMMENT ON TABLE student IS 'The rows of gradebooks: who takes or took a course, or has marks in it, with the totals that they come to. Personal data of the account: name and grades. Kept as grades of record as long as the course; on erasure the account becomes a pseudonym.';
COMMENT ON COLUMN student.sort_key IS 'The name as lists are sorted by it.';
COMMENT ON COLUMN student.stale IS 'Whether something was changed for many at once, and their totals are still to be counted.';
COMMENT ON COLUMN student.totals IS 'What they come to: full and posted, current and final. Made of cells, and can be made anew at any time.';
COMMENT ON COLUMN student.told_percent IS 'What CourseGradeChanged told last, as the three that follow.';
COMMENT ON COLUMN student.revision IS 'The seq of the last change of an override of a total.';

CREATE TABLE total_override (
	course_id text COLLATE "C" NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	category text COLLATE "C" NOT NULL,
	period text COLLATE "C" NOT NULL,
	percent numeric(20,6) NOT NULL,
	posted boolean NOT NULL,
	set_by text COLLATE "C" NOT NULL,
	set_at timestamp with time zone NOT NULL,
	reason text NOT NULL,
	CONSTRAINT total_override_pkey PRIMARY KEY (course_id, account_id, category, period)
);
COMMENT ON TABLE total_override IS 'Percentages that staff set in place of those that categories, periods and totals of a person come to. Personal data of the account: its grades, and why. Kept as grades of record as long as the course; on erasure the account becomes a pseudonym.';
