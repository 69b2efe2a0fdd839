-- +goose Up

CREATE TABLE import (
	id text COLLATE "C" PRIMARY KEY,
	course_id text COLLATE "C" NOT NULL,
	state text COLLATE "C" NOT NULL DEFAULT 'uploading',
	code text NOT NULL DEFAULT '',
	dry_run boolean NOT NULL,
	invite boolean NOT NULL,
	locale text NOT NULL,
	look_up boolean NOT NULL,
	total integer NOT NULL DEFAULT 0,
	enrolled integer NOT NULL DEFAULT 0,
	already integer NOT NULL DEFAULT 0,
	invited integer NOT NULL DEFAULT 0,
	refused integer NOT NULL DEFAULT 0,
	at_line integer NOT NULL DEFAULT 0,
	failures integer NOT NULL DEFAULT 0,
	next_at timestamptz,
	created_by text COLLATE "C" NOT NULL,
	created_at timestamptz NOT NULL,
	queued_at timestamptz,
	finished_at timestamptz,
	delete_at timestamptz,
	CONSTRAINT import_state CHECK (state IN ('uploading', 'queued', 'running', 'done', 'failed', 'cancelled')
		AND (state IN ('done', 'failed', 'cancelled')) = (finished_at IS NOT NULL)
		AND (state IN ('queued', 'running')) = (delete_at IS NULL)
		AND (state IN ('queued', 'running')) = (next_at IS NOT NULL))
);
CREATE INDEX import_course ON import (course_id, created_at DESC, id DESC);
CREATE INDEX import_open ON import (course_id, queued_at, id) WHERE state IN ('queued', 'running');
CREATE INDEX import_delete ON import (delete_at) WHERE delete_at IS NOT NULL;
COMMENT ON TABLE import IS 'Files of people to let into a course, and how far they have come. Personal data of who uploaded them. Deleted with its rows 30 days after its end, and a day after an upload that broke off.';
COMMENT ON COLUMN import.look_up IS 'Whether the upload came with a session, or a token, that may look accounts up where the account may.';
COMMENT ON COLUMN import.at_line IS 'Up to which line the rows are applied.';
COMMENT ON COLUMN import.failures IS 'How often in a row applying the next rows has failed.';
COMMENT ON COLUMN import.next_at IS 'When the next rows are due.';

CREATE TABLE import_row (
	import_id text COLLATE "C" NOT NULL,
	line integer NOT NULL,
	who text COLLATE "C",
	address bytea,
	starts_at timestamptz,
	ends_at timestamptz,
	reason text,
	outcome text COLLATE "C" NOT NULL DEFAULT 'waiting',
	code text COLLATE "C",
	field text COLLATE "C",
	made_id text COLLATE "C",
	CONSTRAINT import_row_pkey PRIMARY KEY (import_id, line),
	CONSTRAINT import_row_outcome CHECK (outcome IN ('waiting', 'enrolled', 'already', 'invited', 'refused')
		AND (outcome = 'refused') = (code IS NOT NULL))
) WITH (fillfactor = 60);
CREATE INDEX import_row_who ON import_row (import_id, who, line) WHERE who IS NOT NULL;
COMMENT ON TABLE import_row IS 'The rows of an import, and what became of each. Personal data of the people in the file, of whom an account, or an address sealed and by its hash.';
COMMENT ON COLUMN import_row.who IS 'Whom the row is about: an account, or the keyed hash of an address as hexadecimal digits.';
COMMENT ON COLUMN import_row.address IS 'Sealed with the key of the import, which is erased with its end; null once the row is applied.';
COMMENT ON COLUMN import_row.made_id IS 'The entitlement or the invitation.';

-- Who has accepted an invitation is found when they come again in a file.
CREATE INDEX email_invitation_accepted ON email_invitation (course_id, email_index) WHERE state = 'accepted';
