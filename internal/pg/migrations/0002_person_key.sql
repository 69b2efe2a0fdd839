-- +goose Up

-- The data key of each person whose personal secrets the service keeps, wrapped
-- by the envelope key. Deleting the row makes what it encrypted unreadable for
-- ever, in copies of the database too that do not have this table.
CREATE TABLE person_key (
	person text COLLATE "C" PRIMARY KEY,
	wrapped bytea NOT NULL,
	envelope bigint NOT NULL,
	created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX person_key_envelope ON person_key (envelope);
COMMENT ON COLUMN person_key.envelope IS 'The id of the envelope key that wraps it.';
