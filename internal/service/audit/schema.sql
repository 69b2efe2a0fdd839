-- What the migrations make of the schema "audit". Generated; do not edit:
-- bin/testservers -only postgres -- go test ./internal/app -run TestSchemaDumps -update

CREATE TABLE checkpoint (
	sequence bigint NOT NULL,
	hash bytea NOT NULL,
	made_at timestamp with time zone NOT NULL,
	mac bytea NOT NULL,
	CONSTRAINT checkpoint_pkey PRIMARY KEY (sequence)
);
CREATE OR REPLACE FUNCTION only_grows()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
	RAISE EXCEPTION '% of the audit log only grows', TG_TABLE_NAME;
END $function$;
CREATE TRIGGER checkpoint_only_grows BEFORE DELETE OR UPDATE OR TRUNCATE ON checkpoint FOR EACH STATEMENT EXECUTE FUNCTION only_grows();
COMMENT ON TABLE checkpoint IS 'What the hash of an entry was, under a key that is not in the database.';

CREATE TABLE entry (
	sequence bigint NOT NULL,
	entry_id text COLLATE "C" NOT NULL,
	at timestamp with time zone NOT NULL,
	service text COLLATE "C" NOT NULL,
	action text COLLATE "C" NOT NULL,
	actor_id text COLLATE "C" NOT NULL,
	session_id text COLLATE "C" NOT NULL,
	token_id text COLLATE "C" NOT NULL,
	caller text COLLATE "C" NOT NULL,
	object_id text COLLATE "C" NOT NULL,
	course_id text COLLATE "C" NOT NULL,
	person_id text COLLATE "C" NOT NULL,
	before text NOT NULL,
	after text NOT NULL,
	reason text NOT NULL,
	request_id text COLLATE "C" NOT NULL,
	event_id text COLLATE "C" NOT NULL,
	hash bytea NOT NULL,
	CONSTRAINT entry_pkey PRIMARY KEY (sequence),
	CONSTRAINT entry_once UNIQUE (entry_id)
);
CREATE INDEX entry_action ON entry USING btree (action, sequence DESC);
CREATE INDEX entry_actor ON entry USING btree (actor_id, sequence DESC) WHERE (actor_id <> ''::text);
CREATE INDEX entry_at ON entry USING btree (at);
CREATE INDEX entry_course ON entry USING btree (course_id, sequence DESC) WHERE (course_id <> ''::text);
CREATE INDEX entry_object ON entry USING btree (object_id, sequence DESC) WHERE (object_id <> ''::text);
CREATE INDEX entry_person ON entry USING btree (person_id, sequence DESC) WHERE (person_id <> ''::text);
CREATE INDEX entry_request ON entry USING btree (request_id, sequence DESC) WHERE (request_id <> ''::text);
CREATE OR REPLACE FUNCTION only_grows()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
	RAISE EXCEPTION '% of the audit log only grows', TG_TABLE_NAME;
END $function$;
CREATE TRIGGER entry_only_grows BEFORE DELETE OR UPDATE OR TRUNCATE ON entry FOR EACH STATEMENT EXECUTE FUNCTION only_grows();
COMMENT ON TABLE entry IS 'The audit log: what every service has changed, in the order in which it came. Each row has the hash of all before it. Rows are added, never changed or deleted. Personal data of the actor and of the person an entry is about.';
COMMENT ON COLUMN entry.before IS 'A JSON object as text, since the text is what the hash is of; empty for what was made.';

CREATE TABLE head (
	one boolean NOT NULL DEFAULT true,
	sequence bigint NOT NULL,
	hash bytea NOT NULL,
	CONSTRAINT head_pkey PRIMARY KEY (one),
	CONSTRAINT head_one_check CHECK (one)
);
COMMENT ON TABLE head IS 'The newest entry. Who appends locks it.';
