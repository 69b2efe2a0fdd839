-- +goose Up

CREATE TABLE grade_import (
	id text COLLATE "C" NOT NULL,
	course_id text COLLATE "C" NOT NULL,
	state text COLLATE "C" NOT NULL DEFAULT 'ready',
	rows integer NOT NULL,
	changes integer NOT NULL,
	conflicts integer NOT NULL,
	refused integer NOT NULL,
	created_by text COLLATE "C" NOT NULL,
	created_at timestamptz NOT NULL,
	delete_at timestamptz NOT NULL,
	batch_id text COLLATE "C" NOT NULL DEFAULT '',
	CONSTRAINT grade_import_pkey PRIMARY KEY (id),
	CONSTRAINT grade_import_state CHECK (state IN ('ready', 'applied', 'cancelled'))
);
CREATE INDEX grade_import_gone ON grade_import (delete_at);
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
	CONSTRAINT grade_import_change_import FOREIGN KEY (import_id) REFERENCES grade_import (id) ON DELETE CASCADE,
	CONSTRAINT grade_import_change_outcome CHECK (outcome IN ('change', 'conflict', 'refused'))
);
COMMENT ON TABLE grade_import_change IS 'What files of grades would change. Personal data of the account whose grade it is. Kept with the file.';
COMMENT ON COLUMN grade_import_change.seq IS 'The version of the cell when the file was uploaded; 0 for none.';
