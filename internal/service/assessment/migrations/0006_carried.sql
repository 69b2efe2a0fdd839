-- +goose Up

CREATE TABLE assignment_copy (
	assignment_id text COLLATE "C" NOT NULL,
	course_id text COLLATE "C" NOT NULL,
	from_assignment_id text COLLATE "C" NOT NULL,
	from_course_id text COLLATE "C" NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	retry_at timestamptz NOT NULL,
	CONSTRAINT assignment_copy_pkey PRIMARY KEY (assignment_id)
);
CREATE INDEX assignment_copy_due ON assignment_copy (retry_at);
COMMENT ON TABLE assignment_copy IS 'Assignments that are to be made of others because a course was copied. Gone once they are. Personal data of the account that copied: its id.';
