-- +goose Up

-- The default gives ids to the grants there are, and to those that a process of
-- the version before adds: 'grant_', and 26 digits that an id may have.
ALTER TABLE role_grant
	ADD COLUMN id text COLLATE "C" NOT NULL DEFAULT 'grant_0' || substr(replace(gen_random_uuid()::text, '-', ''), 1, 25),
	ADD COLUMN item_id text COLLATE "C" NOT NULL DEFAULT '',
	ADD COLUMN expires_at timestamptz,
	ADD COLUMN reason text NOT NULL DEFAULT '';
-- Under the name that the version before knows.
ALTER TABLE role_grant DROP CONSTRAINT role_grant_once;
ALTER TABLE role_grant ADD CONSTRAINT role_grant_once PRIMARY KEY (account_id, course_id, role, item_id);
CREATE UNIQUE INDEX role_grant_id ON role_grant (id);
CREATE INDEX role_grant_list ON role_grant (course_id, granted_at DESC, id DESC);
CREATE INDEX role_grant_holder ON role_grant (course_id, account_id) INCLUDE (role, item_id, expires_at);
CREATE INDEX role_grant_role ON role_grant (role) WHERE role LIKE 'role\_%';
ALTER TABLE role_grant ADD CONSTRAINT role_grant_item CHECK (item_id = '' OR course_id <> '');
COMMENT ON COLUMN role_grant.role IS 'The name of a built-in role, or the id of a row of role_definition.';
COMMENT ON COLUMN role_grant.item_id IS 'An item of the course, such as a lesson; empty for all of it.';
COMMENT ON COLUMN role_grant.expires_at IS 'When the grant stops to count; null for never.';
COMMENT ON COLUMN role_grant.reason IS 'Why, in the words of who gave it.';

CREATE TABLE role_definition (
	id text COLLATE "C" PRIMARY KEY,
	course_id text COLLATE "C" NOT NULL,
	name text COLLATE "C" NOT NULL,
	description text NOT NULL,
	permissions text[] COLLATE "C" NOT NULL,
	revision bigint NOT NULL DEFAULT 1,
	CONSTRAINT role_definition_name UNIQUE (course_id, name),
	CONSTRAINT role_definition_permissions CHECK (cardinality(permissions) > 0)
);
COMMENT ON TABLE role_definition IS 'Roles that a school or a course made for itself. No personal data.';
COMMENT ON COLUMN role_definition.course_id IS 'Empty for the platform.';

CREATE TABLE transfer (
	id text COLLATE "C" PRIMARY KEY,
	course_id text COLLATE "C" NOT NULL,
	from_id text COLLATE "C" NOT NULL,
	to_id text COLLATE "C" NOT NULL,
	offered_by text COLLATE "C" NOT NULL,
	reason text NOT NULL,
	state text NOT NULL DEFAULT 'offered',
	offered_at timestamptz NOT NULL,
	expires_at timestamptz NOT NULL,
	version bigint,
	CONSTRAINT transfer_state CHECK (state IN ('offered', 'accepted', 'declined', 'replaced') AND (state = 'accepted') = (version IS NOT NULL))
);
-- A course is offered to one person at a time.
CREATE UNIQUE INDEX transfer_once ON transfer (course_id) WHERE state = 'offered';
CREATE INDEX transfer_receiver ON transfer (to_id, offered_at DESC, id DESC) WHERE state = 'offered';
CREATE UNIQUE INDEX transfer_version ON transfer (course_id, version);
COMMENT ON TABLE transfer IS 'Offers of courses to new owners. Personal data of those who gave and received them.';
COMMENT ON COLUMN transfer.version IS 'Grows with each change of a course''s owner.';
