-- +goose Up

CREATE TABLE entry (
	sequence bigint PRIMARY KEY,
	entry_id text COLLATE "C" NOT NULL,
	at timestamptz NOT NULL,
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
	CONSTRAINT entry_once UNIQUE (entry_id)
);
-- One for each way to search, in the order of the answer.
CREATE INDEX entry_actor ON entry (actor_id, sequence DESC) WHERE actor_id <> '';
CREATE INDEX entry_object ON entry (object_id, sequence DESC) WHERE object_id <> '';
CREATE INDEX entry_course ON entry (course_id, sequence DESC) WHERE course_id <> '';
CREATE INDEX entry_person ON entry (person_id, sequence DESC) WHERE person_id <> '';
CREATE INDEX entry_at ON entry (at);
CREATE INDEX entry_action ON entry (action, sequence DESC);
CREATE INDEX entry_request ON entry (request_id, sequence DESC) WHERE request_id <> '';
COMMENT ON TABLE entry IS 'The audit log: what every service has changed, in the order in which it came. Each row has the hash of all before it. Rows are added, never changed or deleted. Personal data of the actor and of the person an entry is about.';
COMMENT ON COLUMN entry.before IS 'A JSON object as text, since the text is what the hash is of; empty for what was made.';

CREATE TABLE head (
	one boolean PRIMARY KEY DEFAULT true CHECK (one),
	sequence bigint NOT NULL,
	hash bytea NOT NULL
);
INSERT INTO head (sequence, hash) VALUES (0, decode(repeat('00', 32), 'hex'));
COMMENT ON TABLE head IS 'The newest entry. Who appends locks it.';

CREATE TABLE checkpoint (
	sequence bigint PRIMARY KEY,
	hash bytea NOT NULL,
	made_at timestamptz NOT NULL,
	mac bytea NOT NULL
);
COMMENT ON TABLE checkpoint IS 'What the hash of an entry was, under a key that is not in the database.';

-- The service may write to all its tables; these two only grow.
-- +goose StatementBegin
CREATE FUNCTION only_grows() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	RAISE EXCEPTION '% of the audit log only grows', TG_TABLE_NAME;
END $$;
-- +goose StatementEnd
CREATE TRIGGER entry_only_grows BEFORE UPDATE OR DELETE OR TRUNCATE ON entry FOR EACH STATEMENT EXECUTE FUNCTION only_grows();
CREATE TRIGGER checkpoint_only_grows BEFORE UPDATE OR DELETE OR TRUNCATE ON checkpoint FOR EACH STATEMENT EXECUTE FUNCTION only_grows();
