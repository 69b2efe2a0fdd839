-- +goose Up

ALTER TABLE item_result ADD COLUMN grade_version bigint NOT NULL DEFAULT 0;
COMMENT ON TABLE item_result IS 'What somebody has handed in of a quiz or an assignment, as the service assessment told it, and what they have reached, as far as they may know it themselves, as the service grades told it. Personal data of the account: their posted scores. Kept as long as the account.';
COMMENT ON COLUMN item_result.version IS 'Of what assessment told.';
COMMENT ON COLUMN item_result.grade_version IS 'Of the posted score that grades told; 0 while it has told none.';

CREATE TABLE course_grade (
	course_id text COLLATE "C" NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	percent numeric(16, 4),
	passed boolean NOT NULL,
	version bigint NOT NULL,
	CONSTRAINT course_grade_pkey PRIMARY KEY (course_id, account_id)
);
COMMENT ON TABLE course_grade IS 'What somebody comes to in a course as a whole, as far as they may know it themselves, and whether that passes it, as the service grades told it. Personal data of the account: their grade. Kept as long as the account.';

ALTER TABLE course_version ADD COLUMN pass boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN course_version.pass IS 'Whether the course is completed only when its pass mark is reached as well.';
