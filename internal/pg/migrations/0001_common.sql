-- +goose Up
-- What every service has beside its own tables.

-- Events that happened and are not yet handed to the broker.
CREATE TABLE outbox (
	position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	event_id uuid NOT NULL,
	name text NOT NULL,
	payload bytea NOT NULL,
	headers jsonb NOT NULL DEFAULT '{}',
	happened_at timestamptz NOT NULL DEFAULT now()
);

-- Events that were handled, so that a second delivery changes nothing.
CREATE TABLE inbox (
	event_id uuid PRIMARY KEY,
	handled_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX inbox_handled_at ON inbox (handled_at);

-- Events whose handling failed: tried again at next_at, parked when that is null.
CREATE TABLE inbox_failed (
	event_id uuid PRIMARY KEY,
	name text NOT NULL,
	payload bytea NOT NULL,
	headers jsonb NOT NULL DEFAULT '{}',
	happened_at timestamptz NOT NULL,
	attempts int NOT NULL,
	next_at timestamptz,
	last_error text NOT NULL,
	failed_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX inbox_failed_next_at ON inbox_failed (next_at);

-- Results of writes, by the key that the caller sent.
CREATE TABLE idempotency (
	caller text NOT NULL,
	key text NOT NULL,
	method text NOT NULL,
	request_hash bytea NOT NULL,
	result bytea,
	created_at timestamptz NOT NULL DEFAULT now(),
	CONSTRAINT idempotency_key PRIMARY KEY (caller, key)
);
CREATE INDEX idempotency_created_at ON idempotency (created_at);
