-- What the migrations make of the schema "learning". Generated; do not edit:
-- bin/testservers -only postgres -- go test ./internal/app -run TestSchemaDumps -update

CREATE TABLE account (
	account_id text COLLATE "C" NOT NULL,
	name text NOT NULL,
	version bigint NOT NULL,
	CONSTRAINT account_pkey PRIMARY KEY (account_id)
);
COMMENT ON TABLE account IS 'Names to list learners by, as the service identity told them. Personal data of the account. Kept as long as the account.';

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

CREATE TABLE course_version (
	course_id text COLLATE "C" NOT NULL,
	version integer NOT NULL,
	publication bytea NOT NULL,
	CONSTRAINT course_version_pkey PRIMARY KEY (course_id, version)
);
COMMENT ON TABLE course_version IS 'What the newest version of each course and those that cohorts are pinned to consist of: a stoa.courses.v1.CoursePublished as it was told. Rows are never changed, so that what is made of one may be kept in memory. No personal data.';

CREATE TABLE learner (
	course_id text COLLATE "C" NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	enrolled_at timestamp with time zone,
	resume_lesson_id text COLLATE "C",
	last_seen_at timestamp with time zone,
	completed_at timestamp with time zone,
	pinned_version integer NOT NULL DEFAULT 0,
	CONSTRAINT learner_pkey PRIMARY KEY (course_id, account_id),
	CONSTRAINT learner_completed_enrolled CHECK (((completed_at IS NULL) OR (enrolled_at IS NOT NULL)))
) WITH (fillfactor=85);
CREATE INDEX learner_of_account ON learner USING btree (account_id, enrolled_at DESC, course_id DESC) WHERE (enrolled_at IS NOT NULL);
CREATE INDEX learner_of_course ON learner USING btree (course_id, enrolled_at DESC, account_id DESC) WHERE (enrolled_at IS NOT NULL);
COMMENT ON TABLE learner IS 'Who is enrolled in a course or has viewed a lesson of it. Personal data of the account: which courses they take and how far they are. Kept as long as the account.';
COMMENT ON COLUMN learner.enrolled_at IS 'Null for who has viewed without being enrolled, such as staff; they are in no list.';
COMMENT ON COLUMN learner.completed_at IS 'When every lesson was completed for the first time; never taken back.';
COMMENT ON COLUMN learner.pinned_version IS 'The version of the course that they see because of their cohort, 0 for the newest.';

CREATE TABLE lesson_completion (
	course_id text COLLATE "C" NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	lesson_id text COLLATE "C" NOT NULL,
	completed_at timestamp with time zone NOT NULL,
	CONSTRAINT lesson_completion_pkey PRIMARY KEY (course_id, account_id, lesson_id)
);
COMMENT ON TABLE lesson_completion IS 'Lessons that somebody has completed, whether the published version still has them or not: what leaves a course may come back. Personal data of the account. Kept as long as the account.';

CREATE TABLE published_item (
	course_id text COLLATE "C" NOT NULL,
	version integer NOT NULL,
	item_id text COLLATE "C" NOT NULL,
	parent_id text COLLATE "C" NOT NULL,
	kind text NOT NULL,
	"position" integer NOT NULL,
	title text NOT NULL,
	required boolean NOT NULL,
	CONSTRAINT published_item_pkey PRIMARY KEY (course_id, version, item_id)
);
COMMENT ON TABLE published_item IS 'The parts of the versions in course_version, to count over. position is the place in the whole course, parents before children. No personal data.';

CREATE TABLE published_lesson (
	course_id text COLLATE "C" NOT NULL,
	lesson_id text COLLATE "C" NOT NULL,
	"position" integer NOT NULL,
	title text NOT NULL,
	CONSTRAINT published_lesson_pkey PRIMARY KEY (course_id, lesson_id),
	CONSTRAINT published_lesson_course FOREIGN KEY (course_id) REFERENCES course(course_id)
);
COMMENT ON TABLE published_lesson IS 'The lessons of the version of each course that was published last, in its order. No personal data.';
