-- +goose Up

CREATE TABLE course_group (
	id text COLLATE "C" PRIMARY KEY,
	course_id text COLLATE "C" NOT NULL,
	name text NOT NULL,
	set_name text NOT NULL,
	self_signup boolean NOT NULL,
	max_members integer NOT NULL,
	members integer NOT NULL DEFAULT 0,
	revision bigint NOT NULL DEFAULT 1,
	deleted_at timestamptz,
	CONSTRAINT course_group_members CHECK (members >= 0 AND (max_members = 0 OR members <= max_members))
);
CREATE UNIQUE INDEX course_group_name ON course_group (course_id, name) WHERE deleted_at IS NULL;
CREATE INDEX course_group_list ON course_group (course_id, id DESC) WHERE deleted_at IS NULL;
COMMENT ON TABLE course_group IS 'Groups of those who take a course, and those that were deleted. No personal data.';
COMMENT ON COLUMN course_group.set_name IS 'The set that it is one of; empty for none.';
COMMENT ON COLUMN course_group.max_members IS 'How many it has room for; 0 for any number.';

CREATE TABLE group_member (
	group_id text COLLATE "C" NOT NULL REFERENCES course_group,
	account_id text COLLATE "C" NOT NULL,
	course_id text COLLATE "C" NOT NULL,
	set_name text NOT NULL,
	by_self boolean NOT NULL,
	joined_at timestamptz NOT NULL,
	member boolean NOT NULL DEFAULT true,
	version bigint NOT NULL DEFAULT 1,
	CONSTRAINT group_member_pkey PRIMARY KEY (group_id, account_id)
);
CREATE UNIQUE INDEX group_member_set ON group_member (course_id, account_id, set_name) WHERE member AND set_name <> '';
CREATE INDEX group_member_list ON group_member (group_id, joined_at DESC, account_id DESC) WHERE member;
CREATE INDEX group_member_account ON group_member (account_id, joined_at DESC, group_id DESC) WHERE member;
COMMENT ON TABLE group_member IS 'Who is in which group, and who was. Personal data of the account''s holder.';
COMMENT ON COLUMN group_member.by_self IS 'Whether they joined by themselves, and so may leave.';
COMMENT ON COLUMN group_member.version IS 'Grows with each change, and goes with the events.';

CREATE TABLE role_version (
	course_id text COLLATE "C" PRIMARY KEY,
	version bigint NOT NULL
);
COMMENT ON TABLE role_version IS 'The version of what was told last of the roles of each course. No personal data.';

CREATE TABLE retelling (
	what text PRIMARY KEY,
	after_id text COLLATE "C" NOT NULL DEFAULT ''
);
COMMENT ON TABLE retelling IS 'What is told again to services that came to hear it later, and how far that is. No personal data.';
INSERT INTO retelling (what) VALUES ('cohort'), ('role');
