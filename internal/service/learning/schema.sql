-- What the migrations make of the schema "learning". Generated; do not edit:
-- bin/testservers -only postgres -- go test ./internal/app -run TestSchemaDumps -update

CREATE TABLE account (
	account_id text COLLATE "C" NOT NULL,
	name text NOT NULL,
	version bigint NOT NULL,
	time_zone text NOT NULL DEFAULT ''::text,
	CONSTRAINT account_pkey PRIMARY KEY (account_id)
);
COMMENT ON TABLE account IS 'Names to list learners by, and the zones that their days are of, as the service identity told them. Personal data of the account. Kept as long as the account.';

CREATE TABLE activity_day (
	account_id text COLLATE "C" NOT NULL,
	day date NOT NULL,
	course_id text COLLATE "C" NOT NULL,
	spent_ms bigint NOT NULL,
	acted boolean NOT NULL,
	CONSTRAINT activity_day_pkey PRIMARY KEY (account_id, day, course_id)
) WITH (fillfactor=85);
COMMENT ON TABLE activity_day IS 'How long somebody was busy with a course on a day of their calendar, and whether they did something that counts for a streak. Personal data of the account. Kept as long as the account.';

CREATE TABLE badge_key (
	id text COLLATE "C" NOT NULL,
	algorithm text NOT NULL,
	public_key bytea NOT NULL,
	private_key bytea NOT NULL,
	created_at timestamp with time zone NOT NULL,
	CONSTRAINT badge_key_pkey PRIMARY KEY (id),
	CONSTRAINT badge_key_algorithm CHECK ((algorithm = ANY (ARRAY['Ed25519'::text, 'RS256'::text])))
);
COMMENT ON TABLE badge_key IS 'Keys that badges are signed with. The newest of each algorithm signs; the public parts of all are published for ever. No personal data.';
COMMENT ON COLUMN badge_key.private_key IS 'PKCS #8, sealed with a data key that has the name of this table in person_key.';

CREATE TABLE bookmark (
	bookmark_id text COLLATE "C" NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	course_id text COLLATE "C" NOT NULL,
	item_id text COLLATE "C" NOT NULL,
	block integer NOT NULL,
	media_id text COLLATE "C" NOT NULL,
	position_ms bigint NOT NULL,
	label bytea,
	created_at timestamp with time zone NOT NULL,
	CONSTRAINT bookmark_pkey PRIMARY KEY (bookmark_id),
	CONSTRAINT bookmark_place UNIQUE (account_id, course_id, item_id, block, media_id, position_ms)
);
CREATE INDEX bookmark_of_account ON bookmark USING btree (account_id, bookmark_id DESC);
COMMENT ON TABLE bookmark IS 'Places in courses that somebody wants to find again. Personal data of the account, seen by nobody else. Kept until it is deleted, at most as long as the account.';
COMMENT ON COLUMN bookmark.label IS 'Sealed with the person''s key; null for none.';

CREATE TABLE calendar_feed (
	account_id text COLLATE "C" NOT NULL,
	token_hash bytea NOT NULL,
	created_at timestamp with time zone NOT NULL,
	CONSTRAINT calendar_feed_pkey PRIMARY KEY (account_id),
	CONSTRAINT calendar_feed_token UNIQUE (token_hash)
);
COMMENT ON TABLE calendar_feed IS 'Whose calendar is read at which secret address, of which only a hash is kept. Personal data of the account. Kept until it is deleted, at most as long as the account.';

CREATE TABLE certificate (
	id text COLLATE "C" NOT NULL,
	course_id text COLLATE "C" NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	completed_at timestamp with time zone NOT NULL,
	issued_at timestamp with time zone NOT NULL,
	revision integer NOT NULL,
	shared boolean NOT NULL DEFAULT true,
	CONSTRAINT certificate_pkey PRIMARY KEY (id),
	CONSTRAINT certificate_person_course UNIQUE (course_id, account_id)
);
CREATE INDEX certificate_of_account ON certificate USING btree (account_id, issued_at DESC, id DESC);
CREATE INDEX certificate_of_course ON certificate USING btree (course_id, issued_at DESC, id DESC);
COMMENT ON TABLE certificate IS 'Who has a certificate of which course: one for each person and course. Personal data of the account. Kept as long as the account.';
COMMENT ON COLUMN certificate.issued_at IS 'When it was issued for the first time.';
COMMENT ON COLUMN certificate.revision IS 'Of the row of certificate_revision that counts.';
COMMENT ON COLUMN certificate.shared IS 'Whether anybody who has the serial may verify it.';

CREATE TABLE certificate_revision (
	certificate_id text COLLATE "C" NOT NULL,
	revision integer NOT NULL,
	serial text COLLATE "C" NOT NULL,
	status_index bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
	person_name text NOT NULL,
	course_title text NOT NULL,
	language text NOT NULL,
	title text NOT NULL,
	signatory_name text NOT NULL,
	signatory_role text NOT NULL,
	issuer_name text NOT NULL,
	issued_at timestamp with time zone NOT NULL,
	issued_by text COLLATE "C" NOT NULL,
	reason text NOT NULL,
	state text NOT NULL DEFAULT 'valid'::text,
	ended_at timestamp with time zone,
	end_reason text NOT NULL DEFAULT ''::text,
	CONSTRAINT certificate_revision_pkey PRIMARY KEY (certificate_id, revision),
	CONSTRAINT certificate_revision_serial UNIQUE (serial),
	CONSTRAINT certificate_revision_status_index UNIQUE (status_index),
	CONSTRAINT certificate_revision_certificate FOREIGN KEY (certificate_id) REFERENCES certificate(id),
	CONSTRAINT certificate_revision_ended CHECK (((state = 'valid'::text) = (ended_at IS NULL))),
	CONSTRAINT certificate_revision_state CHECK ((state = ANY (ARRAY['valid'::text, 'revoked'::text, 'superseded'::text])))
);
CREATE INDEX certificate_revision_ended ON certificate_revision USING btree (status_index) WHERE (state <> 'valid'::text);
COMMENT ON TABLE certificate_revision IS 'Certificates as they were issued; never changed but to end them, and to add a name that was not known. Personal data of the account: the name on it, and why it was revoked or issued anew, in the words of course staff. Kept as long as the account.';
COMMENT ON COLUMN certificate_revision.serial IS 'What anybody verifies it by: 80 random bits.';
COMMENT ON COLUMN certificate_revision.status_index IS 'Of its bit in the lists of what is revoked, which hold 131,072 each.';

CREATE TABLE certificate_settings (
	course_id text COLLATE "C" NOT NULL,
	enabled boolean NOT NULL DEFAULT true,
	title text NOT NULL DEFAULT ''::text,
	signatory_name text NOT NULL DEFAULT ''::text,
	signatory_role text NOT NULL DEFAULT ''::text,
	revision bigint NOT NULL DEFAULT 1,
	CONSTRAINT certificate_settings_pkey PRIMARY KEY (course_id)
);
COMMENT ON TABLE certificate_settings IS 'How certificates of a course look; a course without a row has them as they are by default. Personal data: the name of who stands for them, as course staff wrote it.';

CREATE TABLE cohort (
	cohort_id text COLLATE "C" NOT NULL,
	course_id text COLLATE "C" NOT NULL,
	name text NOT NULL,
	starts_at timestamp with time zone NOT NULL,
	version bigint NOT NULL,
	ends_at timestamp with time zone,
	cancelled boolean NOT NULL DEFAULT false,
	CONSTRAINT cohort_pkey PRIMARY KEY (cohort_id)
);
COMMENT ON TABLE cohort IS 'When cohorts start, as the service access told it. No personal data.';
COMMENT ON COLUMN cohort.ends_at IS 'Null for no end, and for what was told before ends were kept.';

CREATE TABLE cohort_member (
	course_id text COLLATE "C" NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	version bigint NOT NULL,
	cohort_id text COLLATE "C" NOT NULL,
	CONSTRAINT cohort_member_pkey PRIMARY KEY (course_id, account_id)
);
CREATE INDEX cohort_member_of ON cohort_member USING btree (course_id, cohort_id, account_id);
COMMENT ON TABLE cohort_member IS 'In which cohort of a course somebody is, empty for none any more, as the service access told it with version. Personal data of the account. Kept as long as the account.';

CREATE TABLE cohort_pin (
	course_id text COLLATE "C" NOT NULL,
	cohort_id text COLLATE "C" NOT NULL,
	sequence bigint NOT NULL,
	version integer NOT NULL,
	CONSTRAINT cohort_pin_pkey PRIMARY KEY (course_id, cohort_id)
);
COMMENT ON TABLE cohort_pin IS 'Which version the learners of a cohort see, 0 for the newest. No personal data.';

CREATE TABLE course (
	course_id text COLLATE "C" NOT NULL,
	sequence bigint NOT NULL,
	version integer NOT NULL,
	title text NOT NULL,
	lesson_count integer NOT NULL,
	time_zone text NOT NULL DEFAULT 'UTC'::text,
	language text NOT NULL DEFAULT ''::text,
	CONSTRAINT course_pkey PRIMARY KEY (course_id),
	CONSTRAINT course_lesson_count CHECK ((lesson_count >= 0))
);
COMMENT ON TABLE course IS 'Courses as they were published last, as the service courses told it. No personal data.';
COMMENT ON COLUMN course.sequence IS 'Of the event that the row is made of; an event with a lower one came late.';
COMMENT ON COLUMN course.time_zone IS 'The IANA name of the zone whose calendar its days are of.';
COMMENT ON COLUMN course.language IS 'A BCP 47 tag; empty for a course that was published before it was kept.';

CREATE TABLE course_grade (
	course_id text COLLATE "C" NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	percent numeric(16,4),
	passed boolean NOT NULL,
	version bigint NOT NULL,
	CONSTRAINT course_grade_pkey PRIMARY KEY (course_id, account_id)
);
COMMENT ON TABLE course_grade IS 'What somebody comes to in a course as a whole, as far as they may know it themselves, and whether that passes it, as the service grades told it. Personal data of the account: their grade. Kept as long as the account.';

CREATE TABLE course_group (
	group_id text COLLATE "C" NOT NULL,
	course_id text COLLATE "C" NOT NULL,
	name text NOT NULL,
	deleted boolean NOT NULL,
	version bigint NOT NULL,
	CONSTRAINT course_group_pkey PRIMARY KEY (group_id)
);
COMMENT ON TABLE course_group IS 'The groups of courses, as the service access told it. No personal data.';

CREATE TABLE course_role (
	course_id text COLLATE "C" NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	role text COLLATE "C" NOT NULL,
	version bigint NOT NULL,
	granted boolean NOT NULL,
	expires_at timestamp with time zone,
	CONSTRAINT course_role_pkey PRIMARY KEY (course_id, account_id, role)
);
COMMENT ON TABLE course_role IS 'Who has which role in a whole course, and who had, as the service access told it. Personal data of the account. Kept as long as the account.';

CREATE TABLE course_version (
	course_id text COLLATE "C" NOT NULL,
	version integer NOT NULL,
	publication bytea NOT NULL,
	enough integer,
	pass boolean NOT NULL DEFAULT false,
	CONSTRAINT course_version_pkey PRIMARY KEY (course_id, version),
	CONSTRAINT course_version_enough CHECK ((enough > 0))
);
COMMENT ON TABLE course_version IS 'What the newest version of each course and those that cohorts are pinned to consist of: a stoa.courses.v1.CoursePublished as it was told. Rows are never changed, so that what is made of one may be kept in memory. No personal data.';
COMMENT ON COLUMN course_version.enough IS 'How many of the items that count complete the course; null where all of them have to be.';
COMMENT ON COLUMN course_version.pass IS 'Whether the course is completed only when its pass mark is reached as well.';

CREATE TABLE deadline_override (
	course_id text COLLATE "C" NOT NULL,
	item_id text COLLATE "C" NOT NULL,
	target_id text COLLATE "C" NOT NULL,
	available_from bytea,
	due bytea,
	until bytea,
	set_by text COLLATE "C" NOT NULL,
	set_at timestamp with time zone NOT NULL,
	revision bigint NOT NULL,
	CONSTRAINT deadline_override_pkey PRIMARY KEY (course_id, item_id, target_id),
	CONSTRAINT deadline_override_says CHECK (((available_from IS NOT NULL) OR (due IS NOT NULL) OR (until IS NOT NULL)))
);
CREATE INDEX deadline_override_target ON deadline_override USING btree (course_id, target_id, item_id);
COMMENT ON TABLE deadline_override IS 'Deadlines of an item for an account, a group or a cohort. Personal data of the account where it is for one. Kept as long as the account.';
COMMENT ON COLUMN deadline_override.due IS 'A stoa.learning.v1.MomentOverride, as the other two; null for as it is otherwise.';

CREATE TABLE deadline_task (
	course_id text COLLATE "C" NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	after_id text COLLATE "C" NOT NULL DEFAULT ''::text,
	queued bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
	CONSTRAINT deadline_task_pkey PRIMARY KEY (course_id, account_id)
);
CREATE INDEX deadline_task_queue ON deadline_task USING btree (queued);
COMMENT ON TABLE deadline_task IS 'Whose effective deadlines are to be made anew. Personal data of the account for a moment.';
COMMENT ON COLUMN deadline_task.account_id IS 'Empty for all of the course; then after_id is how far that is.';

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
	queued bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
	CONSTRAINT ease_task_pkey PRIMARY KEY (account_id, course_id)
);
CREATE INDEX ease_task_queue ON ease_task USING btree (queued);
COMMENT ON TABLE ease_task IS 'Of whom access is to be asked how deadlines are eased. Personal data of the account for a moment.';
COMMENT ON COLUMN ease_task.queued IS 'Another one with each reason to ask, so that an answer from before is told.';

CREATE TABLE effective_deadline (
	course_id text COLLATE "C" NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	item_id text COLLATE "C" NOT NULL,
	available_from timestamp with time zone,
	available_from_source text COLLATE "C" NOT NULL,
	due timestamp with time zone,
	due_source text COLLATE "C" NOT NULL,
	until timestamp with time zone,
	until_source text COLLATE "C" NOT NULL,
	extra_days integer NOT NULL,
	CONSTRAINT effective_deadline_pkey PRIMARY KEY (course_id, account_id, item_id)
) WITH (fillfactor=85);
CREATE INDEX effective_deadline_due ON effective_deadline USING btree (account_id, due, course_id, item_id) WHERE (due IS NOT NULL);
CREATE INDEX effective_deadline_item ON effective_deadline USING btree (course_id, item_id, account_id);
CREATE INDEX effective_deadline_opening ON effective_deadline USING btree (available_from, course_id, item_id) WHERE (available_from IS NOT NULL);
COMMENT ON TABLE effective_deadline IS 'When an item can be worked on for each learner, for the items of the version they see that have a schedule or an override. Made of the schedules, the overrides and what access told; can be made anew at any time. Personal data of the account. Kept as long as the account.';
COMMENT ON COLUMN effective_deadline.due_source IS 'What says so, as of the other two: empty for nothing, course, person, due, or the id of a group or a cohort.';
COMMENT ON COLUMN effective_deadline.extra_days IS 'By how many days due and until are eased, which is in them.';

CREATE TABLE group_member (
	course_id text COLLATE "C" NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	group_id text COLLATE "C" NOT NULL,
	version bigint NOT NULL,
	member boolean NOT NULL,
	CONSTRAINT group_member_pkey PRIMARY KEY (course_id, account_id, group_id)
);
CREATE INDEX group_member_of ON group_member USING btree (course_id, group_id, account_id) WHERE member;
COMMENT ON TABLE group_member IS 'Who is in which group of a course, and who was, as the service access told it. Personal data of the account. Kept as long as the account.';

CREATE TABLE item_best (
	course_id text COLLATE "C" NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	item_id text COLLATE "C" NOT NULL,
	submitted_at timestamp with time zone,
	percent numeric,
	passed boolean NOT NULL,
	CONSTRAINT item_best_pkey PRIMARY KEY (course_id, account_id, item_id)
);
COMMENT ON TABLE item_best IS 'The best that somebody has reached in a quiz or an assignment: of all that the service assessment told, in whatever order, the first handing in, the highest posted score, and whether any has passed. Personal data of the account. Kept as long as the account.';

CREATE TABLE item_fact (
	course_id text COLLATE "C" NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	item_id text COLLATE "C" NOT NULL,
	viewed_at timestamp with time zone,
	marked_at timestamp with time zone,
	marked_by text COLLATE "C" NOT NULL DEFAULT ''::text,
	marked_by_staff boolean NOT NULL DEFAULT false,
	mark_reason text NOT NULL DEFAULT ''::text,
	position_media_id text COLLATE "C" NOT NULL DEFAULT ''::text,
	position_ms bigint NOT NULL DEFAULT 0,
	position_at timestamp with time zone,
	CONSTRAINT item_fact_pkey PRIMARY KEY (course_id, account_id, item_id)
) WITH (fillfactor=85);
COMMENT ON TABLE item_fact IS 'What somebody has done in an item, whatever completes it: when they first viewed it, the mark that stands, and where they left off. Personal data of the account. Kept as long as the account.';

CREATE TABLE item_result (
	course_id text COLLATE "C" NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	item_id text COLLATE "C" NOT NULL,
	submitted_at timestamp with time zone,
	percent numeric(16,4),
	passed boolean NOT NULL,
	version bigint NOT NULL,
	grade_version bigint NOT NULL DEFAULT 0,
	CONSTRAINT item_result_pkey PRIMARY KEY (course_id, account_id, item_id)
);
COMMENT ON TABLE item_result IS 'What somebody has handed in of a quiz or an assignment, as the service assessment told it, and what they have reached, as far as they may know it themselves, as the service grades told it. Personal data of the account: their posted scores. Kept as long as the account.';
COMMENT ON COLUMN item_result.percent IS 'The posted score; null where none is.';
COMMENT ON COLUMN item_result.version IS 'Of what assessment told.';
COMMENT ON COLUMN item_result.grade_version IS 'Of the posted score that grades told; 0 while it has told none.';

CREATE TABLE learner (
	course_id text COLLATE "C" NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	enrolled_at timestamp with time zone,
	resume_lesson_id text COLLATE "C",
	last_seen_at timestamp with time zone,
	completed_at timestamp with time zone,
	pinned_version integer NOT NULL DEFAULT 0,
	enrollment_version bigint NOT NULL DEFAULT 0,
	ended boolean NOT NULL DEFAULT false,
	CONSTRAINT learner_pkey PRIMARY KEY (course_id, account_id),
	CONSTRAINT learner_completed_enrolled CHECK (((completed_at IS NULL) OR (enrolled_at IS NOT NULL)))
) WITH (fillfactor=85);
CREATE INDEX learner_of_account ON learner USING btree (account_id, enrolled_at DESC, course_id DESC) WHERE (enrolled_at IS NOT NULL);
CREATE INDEX learner_of_course ON learner USING btree (course_id, enrolled_at DESC, account_id DESC) WHERE (enrolled_at IS NOT NULL);
COMMENT ON TABLE learner IS 'Who is enrolled in a course or has viewed a lesson of it. Personal data of the account: which courses they take and how far they are. Kept as long as the account.';
COMMENT ON COLUMN learner.enrolled_at IS 'Null for who has viewed without being enrolled, such as staff; they are in no list.';
COMMENT ON COLUMN learner.resume_lesson_id IS 'The item of any kind that they were in last.';
COMMENT ON COLUMN learner.completed_at IS 'When all that is required was completed for the first time; never taken back.';
COMMENT ON COLUMN learner.pinned_version IS 'The version of the course that they see because of their cohort, 0 for the newest.';
COMMENT ON COLUMN learner.enrollment_version IS 'Of what access told last of the enrollment; 1 for that it started.';
COMMENT ON COLUMN learner.ended IS 'Whether the enrollment is over. It may go on again.';

CREATE TABLE learner_clock (
	account_id text COLLATE "C" NOT NULL,
	last_at timestamp with time zone,
	last_course_id text COLLATE "C" NOT NULL DEFAULT ''::text,
	watch jsonb NOT NULL DEFAULT '{}'::jsonb,
	CONSTRAINT learner_clock_pkey PRIMARY KEY (account_id)
) WITH (fillfactor=50);
COMMENT ON TABLE learner_clock IS 'When somebody did something last, and in watch the players that they report from and which real time of the last day has earned them video. The row is locked by all that they do. Personal data of the account. Kept as long as the account.';

CREATE TABLE lesson_completion (
	course_id text COLLATE "C" NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	lesson_id text COLLATE "C" NOT NULL,
	completed_at timestamp with time zone NOT NULL,
	version integer NOT NULL DEFAULT 0,
	CONSTRAINT lesson_completion_pkey PRIMARY KEY (course_id, account_id, lesson_id)
);
CREATE INDEX lesson_completion_of_account ON lesson_completion USING btree (account_id, completed_at);
COMMENT ON TABLE lesson_completion IS 'Items and modules that somebody has completed, whether the version they see still has them or not: what leaves a course may come back. Rows are deleted only when a mark that completed an item is taken back. Personal data of the account. Kept as long as the account.';
COMMENT ON COLUMN lesson_completion.lesson_id IS 'The id of an item of any kind.';
COMMENT ON COLUMN lesson_completion.version IS 'The version of the course by whose rule it was completed; 0 for before versions were kept.';

CREATE TABLE media (
	media_id text COLLATE "C" NOT NULL,
	version bigint NOT NULL,
	duration_ms integer NOT NULL,
	CONSTRAINT media_pkey PRIMARY KEY (media_id),
	CONSTRAINT media_duration CHECK ((duration_ms >= 0))
);
COMMENT ON TABLE media IS 'How long videos and sounds are, as the service media told it with version; 0 for not known. No personal data.';

CREATE TABLE module_item (
	course_id text COLLATE "C" NOT NULL,
	version integer NOT NULL,
	module_id text COLLATE "C" NOT NULL,
	item_id text COLLATE "C" NOT NULL,
	CONSTRAINT module_item_pkey PRIMARY KEY (course_id, version, module_id, item_id)
);
CREATE INDEX module_item_of ON module_item USING btree (course_id, version, item_id);
COMMENT ON TABLE module_item IS 'What counts in each module, whatever the depth, in the versions in course_version. No personal data.';

CREATE TABLE note (
	note_id text COLLATE "C" NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	course_id text COLLATE "C" NOT NULL,
	item_id text COLLATE "C" NOT NULL,
	block integer NOT NULL,
	media_id text COLLATE "C" NOT NULL,
	position_ms bigint NOT NULL,
	text bytea NOT NULL,
	revision integer NOT NULL,
	created_at timestamp with time zone NOT NULL,
	updated_at timestamp with time zone NOT NULL,
	CONSTRAINT note_pkey PRIMARY KEY (note_id)
);
CREATE INDEX note_of_account ON note USING btree (account_id, note_id DESC);
CREATE INDEX note_of_course ON note USING btree (account_id, course_id, note_id DESC);
COMMENT ON TABLE note IS 'What somebody has noted for themselves. Personal data of the account, seen by nobody else. Kept until it is deleted, at most as long as the account.';
COMMENT ON COLUMN note.text IS 'Sealed with the person''s key.';

CREATE TABLE published_item (
	course_id text COLLATE "C" NOT NULL,
	version integer NOT NULL,
	item_id text COLLATE "C" NOT NULL,
	parent_id text COLLATE "C" NOT NULL,
	kind text NOT NULL,
	"position" integer NOT NULL,
	title text NOT NULL,
	required boolean NOT NULL,
	counted boolean NOT NULL DEFAULT false,
	viewed boolean NOT NULL DEFAULT false,
	watch_percent integer NOT NULL DEFAULT 0,
	submitted boolean NOT NULL DEFAULT false,
	min_percent numeric,
	passed boolean NOT NULL DEFAULT false,
	manual text NOT NULL DEFAULT ''::text,
	ruled boolean NOT NULL GENERATED ALWAYS AS ((viewed OR (watch_percent > 0) OR submitted OR (min_percent IS NOT NULL) OR passed OR (manual <> ''::text))) STORED,
	minutes integer NOT NULL DEFAULT 0,
	media_ids text[] COLLATE "C" NOT NULL DEFAULT '{}'::text[],
	CONSTRAINT published_item_pkey PRIMARY KEY (course_id, version, item_id),
	CONSTRAINT published_item_manual CHECK ((manual = ANY (ARRAY[''::text, 'self'::text, 'staff'::text])))
);
CREATE INDEX published_item_counted ON published_item USING btree (course_id, version, "position") WHERE counted;
CREATE INDEX published_item_media ON published_item USING gin (media_ids) WHERE (media_ids <> '{}'::text[]);
COMMENT ON TABLE published_item IS 'The parts of the versions in course_version, to count over. position is the place in the whole course, parents before children. No personal data.';
COMMENT ON COLUMN published_item.counted IS 'Whether the course and its module are completed only when it is: it is required, and something completes it.';
COMMENT ON COLUMN published_item.viewed IS 'With the columns up to manual: what completes it, all of it. Of requirements of one kind the strictest.';
COMMENT ON COLUMN published_item.ruled IS 'Whether anything completes it.';
COMMENT ON COLUMN published_item.media_ids IS 'The video and audio files that it shows, all of which are to be watched to watch_percent.';

CREATE TABLE published_lesson (
	course_id text COLLATE "C" NOT NULL,
	lesson_id text COLLATE "C" NOT NULL,
	"position" integer NOT NULL,
	title text NOT NULL,
	CONSTRAINT published_lesson_pkey PRIMARY KEY (course_id, lesson_id),
	CONSTRAINT published_lesson_course FOREIGN KEY (course_id) REFERENCES course(course_id)
);
COMMENT ON TABLE published_lesson IS 'The lessons of the version of each course that was published last, in its order. No personal data.';

CREATE TABLE settle_task (
	course_id text COLLATE "C" NOT NULL,
	cohort_id text COLLATE "C" NOT NULL,
	items text[] COLLATE "C",
	narrow boolean NOT NULL,
	after_id text COLLATE "C" NOT NULL DEFAULT ''::text,
	queued bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
	CONSTRAINT settle_task_pkey PRIMARY KEY (course_id, cohort_id)
);
CREATE INDEX settle_task_queue ON settle_task USING btree (queued);
COMMENT ON TABLE settle_task IS 'Of whom it is to be found what they have completed by new rules: all learners of a course, or of a cohort of it; after_id is how far that is. No personal data but that id, for a moment.';
COMMENT ON COLUMN settle_task.items IS 'Only these; null for all.';

CREATE TABLE watched (
	course_id text COLLATE "C" NOT NULL,
	media_id text COLLATE "C" NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	ranges int4multirange NOT NULL,
	watched_ms integer NOT NULL,
	CONSTRAINT watched_pkey PRIMARY KEY (course_id, media_id, account_id)
) WITH (fillfactor=70);
COMMENT ON TABLE watched IS 'Which parts of a video or a sound somebody has watched, in milliseconds, and how much that is. Personal data of the account. Kept as long as the account.';
