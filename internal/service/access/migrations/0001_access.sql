-- +goose Up

CREATE TABLE role_grant (
	account_id text COLLATE "C" NOT NULL,
	course_id text COLLATE "C" NOT NULL,
	role text COLLATE "C" NOT NULL,
	granted_by text COLLATE "C" NOT NULL,
	granted_at timestamptz NOT NULL,
	CONSTRAINT role_grant_once PRIMARY KEY (account_id, course_id, role)
);
COMMENT ON TABLE role_grant IS 'Which role an account has where. Personal data of the account''s holder.';
COMMENT ON COLUMN role_grant.course_id IS 'Empty for the platform.';
COMMENT ON COLUMN role_grant.granted_by IS 'An account, or the name of the service that gave the role by itself.';

CREATE TABLE entitlement (
	id text COLLATE "C" PRIMARY KEY,
	account_id text COLLATE "C" NOT NULL,
	course_id text COLLATE "C" NOT NULL,
	source text COLLATE "C" NOT NULL,
	source_id text COLLATE "C" NOT NULL,
	starts_at timestamptz NOT NULL,
	ends_at timestamptz,
	revoked_at timestamptz,
	revoke_reason text,
	CONSTRAINT entitlement_source CHECK (source IN ('free', 'order') AND (source = 'free') = (source_id = '')),
	CONSTRAINT entitlement_revoked CHECK ((revoked_at IS NULL) = (revoke_reason IS NULL))
);
-- A delivered order line gives access once; a free course is taken once at a time.
CREATE UNIQUE INDEX entitlement_order ON entitlement (source_id, course_id) WHERE source = 'order';
CREATE UNIQUE INDEX entitlement_free ON entitlement (account_id, course_id) WHERE source = 'free' AND revoked_at IS NULL;
-- What every question about access looks at; it has all that the answer needs.
CREATE INDEX entitlement_access ON entitlement (account_id, course_id) INCLUDE (starts_at, ends_at) WHERE revoked_at IS NULL;
COMMENT ON TABLE entitlement IS 'The ledger of access: why an account may use a course, from when to when. Rows are added and revoked, never deleted or given another meaning. Personal data of the account''s holder.';
COMMENT ON COLUMN entitlement.source_id IS 'The order line for "order"; empty for "free".';

CREATE TABLE enrollment (
	id text COLLATE "C" PRIMARY KEY,
	account_id text COLLATE "C" NOT NULL,
	course_id text COLLATE "C" NOT NULL,
	enrolled_at timestamptz NOT NULL,
	CONSTRAINT enrollment_once UNIQUE (account_id, course_id)
);
CREATE INDEX enrollment_course ON enrollment (course_id, enrolled_at DESC, id DESC);
CREATE INDEX enrollment_account ON enrollment (account_id, enrolled_at DESC, id DESC);
COMMENT ON TABLE enrollment IS 'That an account has taken a course, and since when; whether it still does is in the ledger. Personal data of the account''s holder.';

CREATE TABLE course (
	course_id text COLLATE "C" PRIMARY KEY,
	owner_id text COLLATE "C" NOT NULL DEFAULT '',
	sequence bigint NOT NULL DEFAULT 0,
	published boolean NOT NULL DEFAULT false,
	price_version bigint NOT NULL DEFAULT 0,
	free boolean
);
CREATE INDEX course_published ON course (course_id) WHERE published;
COMMENT ON TABLE course IS 'What courses and commerce have told of a course, in any order.';
COMMENT ON COLUMN course.free IS 'Null while no price is known.';

CREATE TABLE person (
	account_id text COLLATE "C" PRIMARY KEY,
	name text NOT NULL,
	version bigint NOT NULL
);
COMMENT ON TABLE person IS 'What identity has told of an account: its name, for lists of people. Personal data of the account''s holder.';
