-- +goose Up

CREATE TABLE ended_source (
	source_id text COLLATE "C" NOT NULL,
	reason text NOT NULL,
	ended_at timestamptz NOT NULL,
	CONSTRAINT ended_source_pkey PRIMARY KEY (source_id)
);
COMMENT ON TABLE ended_source IS 'Order lines that were given back: what they gave has ended, and what comes later by them is not given. No personal data.';
