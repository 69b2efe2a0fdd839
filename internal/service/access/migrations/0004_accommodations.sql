-- +goose Up

CREATE TABLE accommodation (
	id text COLLATE "C" PRIMARY KEY,
	account_id text COLLATE "C" NOT NULL,
	course_id text COLLATE "C" NOT NULL,
	time_percent integer NOT NULL CONSTRAINT accommodation_time CHECK (time_percent BETWEEN 100 AND 500),
	extra_attempts integer NOT NULL CONSTRAINT accommodation_attempts CHECK (extra_attempts BETWEEN 0 AND 100),
	extra_days integer NOT NULL CONSTRAINT accommodation_days CHECK (extra_days BETWEEN 0 AND 365),
	breaks boolean NOT NULL,
	note bytea,
	granted_by text COLLATE "C" NOT NULL,
	granted_at timestamptz NOT NULL,
	ended_by text COLLATE "C" NOT NULL DEFAULT '',
	ended_at timestamptz
);
CREATE UNIQUE INDEX accommodation_once ON accommodation (account_id, course_id) WHERE ended_at IS NULL;
CREATE INDEX accommodation_of_course ON accommodation (course_id, id DESC);
COMMENT ON TABLE accommodation IS 'How exams and deadlines are eased for a person, and how they were: a change ends a row and adds one. Personal data of the account''s holder, which may tell of their health.';
COMMENT ON COLUMN accommodation.course_id IS 'Empty for all courses.';
COMMENT ON COLUMN accommodation.note IS 'Sealed with the person''s key.';
