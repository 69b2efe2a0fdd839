-- +goose Up

CREATE TABLE mark (
	course_id text COLLATE "C" NOT NULL,
	item_id text COLLATE "C" NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	source_id text COLLATE "C" NOT NULL,
	state text COLLATE "C" NOT NULL,
	points numeric(20, 6),
	max_points numeric(20, 6),
	submitted_at timestamptz,
	late_seconds bigint NOT NULL,
	attempts integer NOT NULL,
	marked_by text COLLATE "C" NOT NULL,
	cause text COLLATE "C" NOT NULL,
	changed_at timestamptz NOT NULL,
	version bigint NOT NULL,
	CONSTRAINT mark_pkey PRIMARY KEY (course_id, account_id, item_id)
);
COMMENT ON TABLE mark IS 'What students reached in quizzes and assignments, raw, as the service assessment told it last. Personal data of the account: its marks. Kept as grades of record as long as the course; on erasure the account becomes a pseudonym.';
