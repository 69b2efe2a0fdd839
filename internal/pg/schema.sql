-- What the migrations make of the tables that every service has. Generated; do not edit:
-- bin/testservers -only postgres -- go test ./internal/app -run TestSchemaDumps -update

CREATE TABLE idempotency (
	caller text NOT NULL,
	key text NOT NULL,
	method text NOT NULL,
	request_hash bytea NOT NULL,
	result bytea,
	created_at timestamp with time zone NOT NULL DEFAULT now(),
	CONSTRAINT idempotency_key PRIMARY KEY (caller, key)
);
CREATE INDEX idempotency_created_at ON idempotency USING btree (created_at);

CREATE TABLE inbox (
	event_id uuid NOT NULL,
	handled_at timestamp with time zone NOT NULL DEFAULT now(),
	CONSTRAINT inbox_pkey PRIMARY KEY (event_id)
);
CREATE INDEX inbox_handled_at ON inbox USING btree (handled_at);

CREATE TABLE inbox_failed (
	event_id uuid NOT NULL,
	name text NOT NULL,
	payload bytea NOT NULL,
	headers jsonb NOT NULL DEFAULT '{}'::jsonb,
	happened_at timestamp with time zone NOT NULL,
	attempts integer NOT NULL,
	next_at timestamp with time zone,
	last_error text NOT NULL,
	failed_at timestamp with time zone NOT NULL DEFAULT now(),
	CONSTRAINT inbox_failed_pkey PRIMARY KEY (event_id)
);
CREATE INDEX inbox_failed_next_at ON inbox_failed USING btree (next_at);

CREATE TABLE outbox (
	"position" bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
	event_id uuid NOT NULL,
	name text NOT NULL,
	payload bytea NOT NULL,
	headers jsonb NOT NULL DEFAULT '{}'::jsonb,
	happened_at timestamp with time zone NOT NULL DEFAULT now(),
	CONSTRAINT outbox_pkey PRIMARY KEY ("position")
);

CREATE TABLE person_key (
	person text COLLATE "C" NOT NULL,
	wrapped bytea NOT NULL,
	envelope bigint NOT NULL,
	created_at timestamp with time zone NOT NULL DEFAULT now(),
	CONSTRAINT person_key_pkey PRIMARY KEY (person)
);
CREATE INDEX person_key_envelope ON person_key USING btree (envelope);
COMMENT ON COLUMN person_key.envelope IS 'The id of the envelope key that wraps it.';
