-- +goose Up

ALTER TABLE course
	ADD COLUMN time_zone text NOT NULL DEFAULT 'UTC',
	ADD COLUMN language text NOT NULL DEFAULT '';
COMMENT ON COLUMN course.language IS 'A BCP 47 tag; empty for a course that was published before it was kept.';
COMMENT ON COLUMN course.time_zone IS 'The IANA name of the zone whose calendar its days are of.';

CREATE TABLE course_version (
	course_id text COLLATE "C" NOT NULL,
	version int NOT NULL,
	publication bytea NOT NULL,
	CONSTRAINT course_version_pkey PRIMARY KEY (course_id, version)
);
COMMENT ON TABLE course_version IS 'What the newest version of each course and those that cohorts are pinned to consist of: a stoa.courses.v1.CoursePublished as it was told. Rows are never changed, so that what is made of one may be kept in memory. No personal data.';

CREATE TABLE published_item (
	course_id text COLLATE "C" NOT NULL,
	version int NOT NULL,
	item_id text COLLATE "C" NOT NULL,
	parent_id text COLLATE "C" NOT NULL,
	kind text NOT NULL,
	position int NOT NULL,
	title text NOT NULL,
	required boolean NOT NULL,
	CONSTRAINT published_item_pkey PRIMARY KEY (course_id, version, item_id)
);
COMMENT ON TABLE published_item IS 'The parts of the versions in course_version, to count over. position is the place in the whole course, parents before children. No personal data.';

INSERT INTO published_item (course_id, version, item_id, parent_id, kind, position, title, required)
SELECT p.course_id, c.version, p.lesson_id, '', 'lesson', p.position, p.title, true
FROM published_lesson p JOIN course c USING (course_id);

CREATE TABLE cohort_pin (
	course_id text COLLATE "C" NOT NULL,
	cohort_id text COLLATE "C" NOT NULL,
	sequence bigint NOT NULL,
	version int NOT NULL,
	CONSTRAINT cohort_pin_pkey PRIMARY KEY (course_id, cohort_id)
);
COMMENT ON TABLE cohort_pin IS 'Which version the learners of a cohort see, 0 for the newest. No personal data.';

CREATE TABLE cohort_member (
	course_id text COLLATE "C" NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	version bigint NOT NULL,
	cohort_id text COLLATE "C" NOT NULL,
	CONSTRAINT cohort_member_pkey PRIMARY KEY (course_id, account_id)
);
COMMENT ON TABLE cohort_member IS 'In which cohort of a course somebody is, empty for none any more, as the service access told it with version. Personal data of the account. Kept as long as the account.';
CREATE INDEX cohort_member_of ON cohort_member (course_id, cohort_id, account_id);

ALTER TABLE learner ADD COLUMN pinned_version int NOT NULL DEFAULT 0;
COMMENT ON COLUMN learner.pinned_version IS 'The version of the course that they see because of their cohort, 0 for the newest.';
