-- What the migrations make of the schema "learning". Generated; do not edit:
-- bin/testservers -only postgres -- go test ./internal/app -run TestSchemaDumps -update

CREATE TABLE account (
	account_id text COLLATE "C" NOT NULL,
	name text NOT NULL,
	version bigint NOT NULL,
	CONSTRAINT account_pkey PRIMARY KEY (account_id)
);
COMMENT ON TABLE account IS 'Names to list learners by, as the service identity told them. Personal data of the account. Kept as long as the account.';

CREATE TABLE course (
	course_id text COLLATE "C" NOT NULL,
	sequence bigint NOT NULL,
	version integer NOT NULL,
	title text NOT NULL,
	lesson_count integer NOT NULL,
	CONSTRAINT course_pkey PRIMARY KEY (course_id),
	CONSTRAINT course_lesson_count CHECK ((lesson_count >= 0))
);
COMMENT ON TABLE course IS 'Courses as they were published last, as the service courses told it. No personal data.';
COMMENT ON COLUMN course.sequence IS 'Of the event that the row is made of; an event with a lower one came late.';

CREATE TABLE learner (
	course_id text COLLATE "C" NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	enrolled_at timestamp with time zone,
	resume_lesson_id text COLLATE "C",
	last_seen_at timestamp with time zone,
	completed_at timestamp with time zone,
	CONSTRAINT learner_pkey PRIMARY KEY (course_id, account_id),
	CONSTRAINT learner_completed_enrolled CHECK (((completed_at IS NULL) OR (enrolled_at IS NOT NULL)))
) WITH (fillfactor=85);
CREATE INDEX learner_of_account ON learner USING btree (account_id, enrolled_at DESC, course_id DESC) WHERE (enrolled_at IS NOT NULL);
CREATE INDEX learner_of_course ON learner USING btree (course_id, enrolled_at DESC, account_id DESC) WHERE (enrolled_at IS NOT NULL);
COMMENT ON TABLE learner IS 'Who is enrolled in a course or has viewed a lesson of it. Personal data of the account: which courses they take and how far they are. Kept as long as the account.';
COMMENT ON COLUMN learner.enrolled_at IS 'Null for who has viewed without being enrolled, such as staff; they are in no list.';
COMMENT ON COLUMN learner.completed_at IS 'When every lesson was completed for the first time; never taken back.';

CREATE TABLE lesson_completion (
	course_id text COLLATE "C" NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	lesson_id text COLLATE "C" NOT NULL,
	completed_at timestamp with time zone NOT NULL,
	CONSTRAINT lesson_completion_pkey PRIMARY KEY (course_id, account_id, lesson_id)
);
COMMENT ON TABLE lesson_completion IS 'Lessons that somebody has completed, whether the published version still has them or not: what leaves a course may come back. Personal data of the account. Kept as long as the account.';

CREATE TABLE published_lesson (
	course_id text COLLATE "C" NOT NULL,
	lesson_id text COLLATE "C" NOT NULL,
	"position" integer NOT NULL,
	title text NOT NULL,
	CONSTRAINT published_lesson_pkey PRIMARY KEY (course_id, lesson_id),
	CONSTRAINT published_lesson_course FOREIGN KEY (course_id) REFERENCES course(course_id)
);
COMMENT ON TABLE published_lesson IS 'The lessons of the version of each course that was published last, in its order. No personal data.';
