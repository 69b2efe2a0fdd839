-- +goose Up

CREATE TABLE source_end (
	source_id text COLLATE "C" NOT NULL,
	ends_at timestamptz NOT NULL,
	CONSTRAINT source_end_pkey PRIMARY KEY (source_id)
);
COMMENT ON TABLE source_end IS 'Lines of subscriptions that have ended: what they gave, and what comes later by them, ends then at the latest. No personal data.';
