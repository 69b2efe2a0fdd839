-- What the migrations make of the schema "access". Generated; do not edit:
-- bin/testservers -only postgres -- go test ./internal/app -run TestSchemaDumps -update

CREATE TABLE accommodation (
	id text COLLATE "C" NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	course_id text COLLATE "C" NOT NULL,
	time_percent integer NOT NULL,
	extra_attempts integer NOT NULL,
	extra_days integer NOT NULL,
	breaks boolean NOT NULL,
	note bytea,
	granted_by text COLLATE "C" NOT NULL,
	granted_at timestamp with time zone NOT NULL,
	ended_by text COLLATE "C" NOT NULL DEFAULT ''::text,
	ended_at timestamp with time zone,
	CONSTRAINT accommodation_pkey PRIMARY KEY (id),
	CONSTRAINT accommodation_attempts CHECK (((extra_attempts >= 0) AND (extra_attempts <= 100))),
	CONSTRAINT accommodation_days CHECK (((extra_days >= 0) AND (extra_days <= 365))),
	CONSTRAINT accommodation_time CHECK (((time_percent >= 100) AND (time_percent <= 500)))
);
CREATE INDEX accommodation_of_course ON accommodation USING btree (course_id, id DESC);
CREATE UNIQUE INDEX accommodation_once ON accommodation USING btree (account_id, course_id) WHERE (ended_at IS NULL);
COMMENT ON TABLE accommodation IS 'How exams and deadlines are eased for a person, and how they were: a change ends a row and adds one. Personal data of the account''s holder, which may tell of their health.';
COMMENT ON COLUMN accommodation.course_id IS 'Empty for all courses.';
COMMENT ON COLUMN accommodation.note IS 'Sealed with the person''s key.';

CREATE TABLE cohort (
	id text COLLATE "C" NOT NULL,
	course_id text COLLATE "C" NOT NULL,
	name text NOT NULL,
	starts_at timestamp with time zone NOT NULL,
	ends_at timestamp with time zone,
	enroll_from timestamp with time zone,
	enroll_until timestamp with time zone,
	seats integer NOT NULL,
	taken integer NOT NULL DEFAULT 0,
	offered integer NOT NULL DEFAULT 0,
	waiting integer NOT NULL DEFAULT 0,
	open boolean NOT NULL,
	offer_hours integer NOT NULL,
	revision bigint NOT NULL DEFAULT 1,
	cancelled_at timestamp with time zone,
	cancel_reason text NOT NULL DEFAULT ''::text,
	rescheduled boolean NOT NULL DEFAULT false,
	tend_at timestamp with time zone,
	CONSTRAINT cohort_pkey PRIMARY KEY (id),
	CONSTRAINT cohort_name UNIQUE (course_id, name),
	CONSTRAINT cohort_period CHECK ((ends_at > starts_at)),
	CONSTRAINT cohort_seats CHECK (((taken >= 0) AND (offered >= 0) AND (waiting >= 0) AND ((seats = 0) OR ((taken + offered) <= seats))))
);
CREATE INDEX cohort_course ON cohort USING btree (course_id, starts_at DESC, id DESC);
CREATE INDEX cohort_tend ON cohort USING btree (tend_at) WHERE (tend_at IS NOT NULL);
COMMENT ON TABLE cohort IS 'Dated runs of courses. No personal data.';
COMMENT ON COLUMN cohort.seats IS 'How many it has room for; 0 for any number.';
COMMENT ON COLUMN cohort.offered IS 'Seats that are held for people who waited.';
COMMENT ON COLUMN cohort.rescheduled IS 'Whether grants of its members may still have the times it had before.';
COMMENT ON COLUMN cohort.tend_at IS 'When something is to be done next by itself; null for nothing.';

CREATE TABLE cohort_member (
	id text COLLATE "C" NOT NULL,
	cohort_id text COLLATE "C" NOT NULL,
	course_id text COLLATE "C" NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	sequence bigint NOT NULL,
	entitlement_id text COLLATE "C",
	joined_at timestamp with time zone NOT NULL,
	left_at timestamp with time zone,
	left_why text NOT NULL DEFAULT ''::text,
	CONSTRAINT cohort_member_pkey PRIMARY KEY (id),
	CONSTRAINT cohort_member_sequence UNIQUE (course_id, account_id, sequence),
	CONSTRAINT cohort_member_cohort_id_fkey FOREIGN KEY (cohort_id) REFERENCES cohort(id),
	CONSTRAINT cohort_member_left CHECK (((left_at IS NULL) = (left_why = ''::text)))
);
CREATE INDEX cohort_member_account ON cohort_member USING btree (account_id, joined_at DESC, id DESC);
CREATE INDEX cohort_member_entitlement ON cohort_member USING btree (entitlement_id) WHERE (left_at IS NULL);
CREATE INDEX cohort_member_list ON cohort_member USING btree (cohort_id, joined_at DESC, id DESC);
CREATE UNIQUE INDEX cohort_member_once ON cohort_member USING btree (course_id, account_id) WHERE (left_at IS NULL);
CREATE INDEX cohort_member_present ON cohort_member USING btree (cohort_id, id) WHERE (left_at IS NULL);
COMMENT ON TABLE cohort_member IS 'Who is in which cohort, and who was. Personal data of the account''s holder.';
COMMENT ON COLUMN cohort_member.sequence IS 'Grows with each cohort of the course that the account comes into.';
COMMENT ON COLUMN cohort_member.entitlement_id IS 'The grant that the cohort gave; null for who had access before.';

CREATE TABLE course (
	course_id text COLLATE "C" NOT NULL,
	owner_id text COLLATE "C" NOT NULL DEFAULT ''::text,
	sequence bigint NOT NULL DEFAULT 0,
	published boolean NOT NULL DEFAULT false,
	price_version bigint NOT NULL DEFAULT 0,
	free boolean,
	CONSTRAINT course_pkey PRIMARY KEY (course_id)
);
CREATE INDEX course_published ON course USING btree (course_id) WHERE published;
COMMENT ON TABLE course IS 'What courses and commerce have told of a course, in any order.';
COMMENT ON COLUMN course.free IS 'Null while no price is known.';

CREATE TABLE course_group (
	id text COLLATE "C" NOT NULL,
	course_id text COLLATE "C" NOT NULL,
	name text NOT NULL,
	set_name text NOT NULL,
	self_signup boolean NOT NULL,
	max_members integer NOT NULL,
	members integer NOT NULL DEFAULT 0,
	revision bigint NOT NULL DEFAULT 1,
	deleted_at timestamp with time zone,
	CONSTRAINT course_group_pkey PRIMARY KEY (id),
	CONSTRAINT course_group_members CHECK (((members >= 0) AND ((max_members = 0) OR (members <= max_members))))
);
CREATE INDEX course_group_list ON course_group USING btree (course_id, id DESC) WHERE (deleted_at IS NULL);
CREATE UNIQUE INDEX course_group_name ON course_group USING btree (course_id, name) WHERE (deleted_at IS NULL);
COMMENT ON TABLE course_group IS 'Groups of those who take a course, and those that were deleted. No personal data.';
COMMENT ON COLUMN course_group.set_name IS 'The set that it is one of; empty for none.';
COMMENT ON COLUMN course_group.max_members IS 'How many it has room for; 0 for any number.';

CREATE TABLE email_invitation (
	id text COLLATE "C" NOT NULL,
	course_id text COLLATE "C" NOT NULL,
	email_index bytea NOT NULL,
	address bytea NOT NULL,
	message bytea,
	code_hash bytea,
	access_days integer NOT NULL,
	locale text NOT NULL,
	invited_by text COLLATE "C" NOT NULL,
	created_at timestamp with time zone NOT NULL,
	expires_at timestamp with time zone NOT NULL,
	mails integer NOT NULL DEFAULT 0,
	mailed_at timestamp with time zone,
	state text NOT NULL DEFAULT 'open'::text,
	ended_at timestamp with time zone,
	accepted_by text COLLATE "C",
	seat_id text COLLATE "C" NOT NULL DEFAULT ''::text,
	access_from timestamp with time zone,
	access_ends timestamp with time zone,
	CONSTRAINT email_invitation_pkey PRIMARY KEY (id),
	CONSTRAINT email_invitation_code UNIQUE (code_hash),
	CONSTRAINT email_invitation_state CHECK (((state = ANY (ARRAY['open'::text, 'accepted'::text, 'declined'::text, 'revoked'::text, 'expired'::text])) AND ((state = 'open'::text) = (ended_at IS NULL)) AND ((state = 'accepted'::text) = (accepted_by IS NOT NULL))))
);
CREATE INDEX email_invitation_accepted ON email_invitation USING btree (course_id, email_index) WHERE (state = 'accepted'::text);
CREATE INDEX email_invitation_address ON email_invitation USING btree (email_index, created_at DESC, id DESC) WHERE (state = 'open'::text);
CREATE INDEX email_invitation_course ON email_invitation USING btree (course_id, created_at DESC, id DESC);
CREATE INDEX email_invitation_course_state ON email_invitation USING btree (course_id, state, created_at DESC, id DESC);
CREATE INDEX email_invitation_due ON email_invitation USING btree (expires_at) WHERE (state = 'open'::text);
CREATE INDEX email_invitation_ended ON email_invitation USING btree (ended_at) WHERE (state <> 'open'::text);
CREATE INDEX email_invitation_inviter ON email_invitation USING btree (invited_by, created_at);
CREATE UNIQUE INDEX email_invitation_open ON email_invitation USING btree (course_id, email_index, seat_id) WHERE (state = 'open'::text);
CREATE UNIQUE INDEX email_invitation_seat ON email_invitation USING btree (seat_id) WHERE (seat_id <> ''::text);
COMMENT ON TABLE email_invitation IS 'Invitations to a course by e-mail. Personal data of who is invited: their address and what was written to them, sealed, and whether they came; and of who invited. Deleted with their keys 90 days after their end.';
COMMENT ON COLUMN email_invitation.email_index IS 'A keyed hash of the address, as person has it.';
COMMENT ON COLUMN email_invitation.address IS 'Sealed with the key of the invitation.';
COMMENT ON COLUMN email_invitation.message IS 'Sealed with the key of the invitation; null for none.';
COMMENT ON COLUMN email_invitation.code_hash IS 'SHA-256 of the code of the last mail, which is kept nowhere; null before there was a mail.';
COMMENT ON COLUMN email_invitation.invited_by IS 'An account, or the name of the service that invited by itself.';
COMMENT ON COLUMN email_invitation.state IS 'One that is past its end is expired, also before this says so.';
COMMENT ON COLUMN email_invitation.seat_id IS 'The seat that it offers; empty for none.';
COMMENT ON COLUMN email_invitation.access_from IS 'When access by it begins; null for when it is accepted.';
COMMENT ON COLUMN email_invitation.access_ends IS 'When access by it ends; null for no end, and where access_days says when.';

CREATE TABLE ended_source (
	source_id text COLLATE "C" NOT NULL,
	reason text NOT NULL,
	ended_at timestamp with time zone NOT NULL,
	CONSTRAINT ended_source_pkey PRIMARY KEY (source_id)
);
COMMENT ON TABLE ended_source IS 'Order lines that were given back: what they gave has ended, and what comes later by them is not given. No personal data.';

CREATE TABLE enrollment (
	id text COLLATE "C" NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	course_id text COLLATE "C" NOT NULL,
	enrolled_at timestamp with time zone NOT NULL,
	active boolean NOT NULL DEFAULT true,
	version bigint NOT NULL DEFAULT 1,
	CONSTRAINT enrollment_pkey PRIMARY KEY (id),
	CONSTRAINT enrollment_once UNIQUE (account_id, course_id)
);
CREATE INDEX enrollment_account ON enrollment USING btree (account_id, enrolled_at DESC, id DESC);
CREATE INDEX enrollment_course ON enrollment USING btree (course_id, enrolled_at DESC, id DESC);
COMMENT ON TABLE enrollment IS 'That an account has taken a course, and since when; whether it still does is in the ledger. Personal data of the account''s holder.';
COMMENT ON COLUMN enrollment.active IS 'Whether a grant was live when this was last told to others; what is so now is in the ledger.';

CREATE TABLE enrollment_policy (
	course_id text COLLATE "C" NOT NULL,
	cohort_only boolean NOT NULL,
	revision bigint NOT NULL,
	CONSTRAINT enrollment_policy_pkey PRIMARY KEY (course_id)
);
COMMENT ON TABLE enrollment_policy IS 'How people get into free courses by themselves, where it was ever changed. No personal data.';
COMMENT ON COLUMN enrollment_policy.cohort_only IS 'Whether only through a cohort.';

CREATE TABLE entitlement (
	id text COLLATE "C" NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	course_id text COLLATE "C" NOT NULL,
	source text COLLATE "C" NOT NULL,
	source_id text COLLATE "C" NOT NULL,
	starts_at timestamp with time zone NOT NULL,
	ends_at timestamp with time zone,
	revoked_at timestamp with time zone,
	revoke_reason text,
	granted_by text COLLATE "C" NOT NULL DEFAULT ''::text,
	reason text NOT NULL DEFAULT ''::text,
	revoked_by text COLLATE "C" NOT NULL DEFAULT ''::text,
	due_at timestamp with time zone,
	CONSTRAINT entitlement_pkey PRIMARY KEY (id),
	CONSTRAINT entitlement_revoked CHECK (((revoked_at IS NULL) = (revoke_reason IS NULL))),
	CONSTRAINT entitlement_source CHECK (
CASE source
    WHEN 'free'::text THEN (source_id = ''::text)
    WHEN 'manual'::text THEN true
    WHEN 'order'::text THEN (source_id <> ''::text)
    WHEN 'subscription'::text THEN (source_id <> ''::text)
    WHEN 'seat'::text THEN (source_id <> ''::text)
    WHEN 'gift'::text THEN (source_id <> ''::text)
    WHEN 'code'::text THEN (source_id <> ''::text)
    WHEN 'waiver'::text THEN (source_id <> ''::text)
    ELSE false
END)
);
CREATE INDEX entitlement_access ON entitlement USING btree (account_id, course_id) INCLUDE (starts_at, ends_at) WHERE (revoked_at IS NULL);
CREATE INDEX entitlement_account ON entitlement USING btree (account_id, starts_at DESC, id DESC);
CREATE INDEX entitlement_course ON entitlement USING btree (course_id, starts_at DESC, id DESC);
CREATE INDEX entitlement_due ON entitlement USING btree (due_at) WHERE (due_at IS NOT NULL);
CREATE UNIQUE INDEX entitlement_free ON entitlement USING btree (account_id, course_id) WHERE ((source = 'free'::text) AND (revoked_at IS NULL));
CREATE UNIQUE INDEX entitlement_once ON entitlement USING btree (source, source_id, course_id) WHERE (source_id <> ''::text);
CREATE UNIQUE INDEX entitlement_order ON entitlement USING btree (source_id, course_id) WHERE (source = 'order'::text);
COMMENT ON TABLE entitlement IS 'The ledger of access: why an account may use a course, from when to when. Rows are added and revoked, never deleted or given another meaning. Personal data of the account''s holder.';
COMMENT ON COLUMN entitlement.source_id IS 'What of the source: an order line, a subscription period, a seat, a gift, an invitation, a waiver, a line of an import. Empty for "free" and for what somebody gave by hand.';
COMMENT ON COLUMN entitlement.granted_by IS 'An account, or the name of the service that gave it by itself.';
COMMENT ON COLUMN entitlement.due_at IS 'When access by this grant next begins or ends by itself; null when it does not any more.';

CREATE TABLE group_member (
	group_id text COLLATE "C" NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	course_id text COLLATE "C" NOT NULL,
	set_name text NOT NULL,
	by_self boolean NOT NULL,
	joined_at timestamp with time zone NOT NULL,
	member boolean NOT NULL DEFAULT true,
	version bigint NOT NULL DEFAULT 1,
	CONSTRAINT group_member_pkey PRIMARY KEY (group_id, account_id),
	CONSTRAINT group_member_group_id_fkey FOREIGN KEY (group_id) REFERENCES course_group(id)
);
CREATE INDEX group_member_account ON group_member USING btree (account_id, joined_at DESC, group_id DESC) WHERE member;
CREATE INDEX group_member_list ON group_member USING btree (group_id, joined_at DESC, account_id DESC) WHERE member;
CREATE UNIQUE INDEX group_member_set ON group_member USING btree (course_id, account_id, set_name) WHERE (member AND (set_name <> ''::text));
COMMENT ON TABLE group_member IS 'Who is in which group, and who was. Personal data of the account''s holder.';
COMMENT ON COLUMN group_member.by_self IS 'Whether they joined by themselves, and so may leave.';
COMMENT ON COLUMN group_member.version IS 'Grows with each change, and goes with the events.';

CREATE TABLE import (
	id text COLLATE "C" NOT NULL,
	course_id text COLLATE "C" NOT NULL,
	state text COLLATE "C" NOT NULL DEFAULT 'uploading'::text,
	code text NOT NULL DEFAULT ''::text,
	dry_run boolean NOT NULL,
	invite boolean NOT NULL,
	locale text NOT NULL,
	look_up boolean NOT NULL,
	total integer NOT NULL DEFAULT 0,
	enrolled integer NOT NULL DEFAULT 0,
	already integer NOT NULL DEFAULT 0,
	invited integer NOT NULL DEFAULT 0,
	refused integer NOT NULL DEFAULT 0,
	at_line integer NOT NULL DEFAULT 0,
	failures integer NOT NULL DEFAULT 0,
	next_at timestamp with time zone,
	created_by text COLLATE "C" NOT NULL,
	created_at timestamp with time zone NOT NULL,
	queued_at timestamp with time zone,
	finished_at timestamp with time zone,
	delete_at timestamp with time zone,
	CONSTRAINT import_pkey PRIMARY KEY (id),
	CONSTRAINT import_state CHECK (((state = ANY (ARRAY['uploading'::text, 'queued'::text, 'running'::text, 'done'::text, 'failed'::text, 'cancelled'::text])) AND ((state = ANY (ARRAY['done'::text, 'failed'::text, 'cancelled'::text])) = (finished_at IS NOT NULL)) AND ((state = ANY (ARRAY['queued'::text, 'running'::text])) = (delete_at IS NULL)) AND ((state = ANY (ARRAY['queued'::text, 'running'::text])) = (next_at IS NOT NULL))))
);
CREATE INDEX import_course ON import USING btree (course_id, created_at DESC, id DESC);
CREATE INDEX import_delete ON import USING btree (delete_at) WHERE (delete_at IS NOT NULL);
CREATE INDEX import_open ON import USING btree (course_id, queued_at, id) WHERE (state = ANY (ARRAY['queued'::text, 'running'::text]));
COMMENT ON TABLE import IS 'Files of people to let into a course, and how far they have come. Personal data of who uploaded them. Deleted with its rows 30 days after its end, and a day after an upload that broke off.';
COMMENT ON COLUMN import.look_up IS 'Whether the upload came with a session, or a token, that may look accounts up where the account may.';
COMMENT ON COLUMN import.at_line IS 'Up to which line the rows are applied.';
COMMENT ON COLUMN import.failures IS 'How often in a row applying the next rows has failed.';
COMMENT ON COLUMN import.next_at IS 'When the next rows are due.';

CREATE TABLE import_row (
	import_id text COLLATE "C" NOT NULL,
	line integer NOT NULL,
	who text COLLATE "C",
	address bytea,
	starts_at timestamp with time zone,
	ends_at timestamp with time zone,
	reason text,
	outcome text COLLATE "C" NOT NULL DEFAULT 'waiting'::text,
	code text COLLATE "C",
	field text COLLATE "C",
	made_id text COLLATE "C",
	CONSTRAINT import_row_pkey PRIMARY KEY (import_id, line),
	CONSTRAINT import_row_outcome CHECK (((outcome = ANY (ARRAY['waiting'::text, 'enrolled'::text, 'already'::text, 'invited'::text, 'refused'::text])) AND ((outcome = 'refused'::text) = (code IS NOT NULL))))
) WITH (fillfactor=60);
CREATE INDEX import_row_who ON import_row USING btree (import_id, who, line) WHERE (who IS NOT NULL);
COMMENT ON TABLE import_row IS 'The rows of an import, and what became of each. Personal data of the people in the file, of whom an account, or an address sealed and by its hash.';
COMMENT ON COLUMN import_row.who IS 'Whom the row is about: an account, or the keyed hash of an address as hexadecimal digits.';
COMMENT ON COLUMN import_row.address IS 'Sealed with the key of the import, which is erased with its end; null once the row is applied.';
COMMENT ON COLUMN import_row.made_id IS 'The entitlement or the invitation.';

CREATE TABLE invitation (
	id text COLLATE "C" NOT NULL,
	course_id text COLLATE "C" NOT NULL,
	code_hash bytea NOT NULL,
	note text NOT NULL,
	uses integer NOT NULL DEFAULT 0,
	max_uses integer NOT NULL,
	access_days integer NOT NULL,
	expires_at timestamp with time zone,
	created_by text COLLATE "C" NOT NULL,
	created_at timestamp with time zone NOT NULL,
	revoked_at timestamp with time zone,
	CONSTRAINT invitation_pkey PRIMARY KEY (id),
	CONSTRAINT invitation_code UNIQUE (code_hash),
	CONSTRAINT invitation_uses CHECK (((uses >= 0) AND ((max_uses = 0) OR (uses <= max_uses))))
);
CREATE INDEX invitation_course ON invitation USING btree (course_id, created_at DESC, id DESC);
COMMENT ON TABLE invitation IS 'A code that lets into a course who has it. Who used it is in the ledger of entitlements.';
COMMENT ON COLUMN invitation.code_hash IS 'SHA-256 of the code, which is kept nowhere.';
COMMENT ON COLUMN invitation.max_uses IS 'How many people it lets in; 0 for any number.';
COMMENT ON COLUMN invitation.access_days IS 'How long access lasts from its use on; 0 for no end.';

CREATE TABLE invitation_address (
	email_index bytea NOT NULL,
	mailed_at timestamp with time zone[] NOT NULL,
	until timestamp with time zone NOT NULL,
	CONSTRAINT invitation_address_pkey PRIMARY KEY (email_index)
);
CREATE INDEX invitation_address_until ON invitation_address USING btree (until);
COMMENT ON TABLE invitation_address IS 'When an address was last sent invitations, so that nobody''s mailbox is filled through us. Personal data of who has the address. Deleted after a day.';

CREATE TABLE person (
	account_id text COLLATE "C" NOT NULL,
	name text NOT NULL,
	version bigint NOT NULL,
	email_index bytea,
	email_verified boolean NOT NULL DEFAULT false,
	CONSTRAINT person_pkey PRIMARY KEY (account_id)
);
CREATE INDEX person_email ON person USING btree (email_index) WHERE (email_index IS NOT NULL);
COMMENT ON TABLE person IS 'What identity has told of an account: its name, for lists of people. Personal data of the account''s holder.';
COMMENT ON COLUMN person.email_index IS 'A keyed hash of the address, by which who has it is found. Two may have one for a moment, while an address goes from one account to another.';
COMMENT ON COLUMN person.email_verified IS 'Whether the address was shown to be its holder''s.';

CREATE TABLE retelling (
	what text NOT NULL,
	after_id text COLLATE "C" NOT NULL DEFAULT ''::text,
	CONSTRAINT retelling_pkey PRIMARY KEY (what)
);
COMMENT ON TABLE retelling IS 'What is told again to services that came to hear it later, and how far that is. No personal data.';

CREATE TABLE role_definition (
	id text COLLATE "C" NOT NULL,
	course_id text COLLATE "C" NOT NULL,
	name text COLLATE "C" NOT NULL,
	description text NOT NULL,
	permissions text[] COLLATE "C" NOT NULL,
	revision bigint NOT NULL DEFAULT 1,
	CONSTRAINT role_definition_pkey PRIMARY KEY (id),
	CONSTRAINT role_definition_name UNIQUE (course_id, name),
	CONSTRAINT role_definition_permissions CHECK ((cardinality(permissions) > 0))
);
COMMENT ON TABLE role_definition IS 'Roles that a school or a course made for itself. No personal data.';
COMMENT ON COLUMN role_definition.course_id IS 'Empty for the platform.';

CREATE TABLE role_grant (
	account_id text COLLATE "C" NOT NULL,
	course_id text COLLATE "C" NOT NULL,
	role text COLLATE "C" NOT NULL,
	granted_by text COLLATE "C" NOT NULL,
	granted_at timestamp with time zone NOT NULL,
	id text COLLATE "C" NOT NULL DEFAULT ('grant_0'::text || substr(replace((gen_random_uuid())::text, '-'::text, ''::text), 1, 25)),
	item_id text COLLATE "C" NOT NULL DEFAULT ''::text,
	expires_at timestamp with time zone,
	reason text NOT NULL DEFAULT ''::text,
	CONSTRAINT role_grant_once PRIMARY KEY (account_id, course_id, role, item_id),
	CONSTRAINT role_grant_item CHECK (((item_id = ''::text) OR (course_id <> ''::text)))
);
CREATE INDEX role_grant_holder ON role_grant USING btree (course_id, account_id) INCLUDE (role, item_id, expires_at);
CREATE UNIQUE INDEX role_grant_id ON role_grant USING btree (id);
CREATE INDEX role_grant_list ON role_grant USING btree (course_id, granted_at DESC, id DESC);
CREATE INDEX role_grant_role ON role_grant USING btree (role) WHERE (role ~~ 'role\_%'::text);
COMMENT ON TABLE role_grant IS 'Which role an account has where. Personal data of the account''s holder.';
COMMENT ON COLUMN role_grant.course_id IS 'Empty for the platform.';
COMMENT ON COLUMN role_grant.role IS 'The name of a built-in role, or the id of a row of role_definition.';
COMMENT ON COLUMN role_grant.granted_by IS 'An account, or the name of the service that gave the role by itself.';
COMMENT ON COLUMN role_grant.item_id IS 'An item of the course, such as a lesson; empty for all of it.';
COMMENT ON COLUMN role_grant.expires_at IS 'When the grant stops to count; null for never.';
COMMENT ON COLUMN role_grant.reason IS 'Why, in the words of who gave it.';

CREATE TABLE role_version (
	course_id text COLLATE "C" NOT NULL,
	version bigint NOT NULL,
	CONSTRAINT role_version_pkey PRIMARY KEY (course_id)
);
COMMENT ON TABLE role_version IS 'The version of what was told last of the roles of each course. No personal data.';

CREATE TABLE seat (
	id text COLLATE "C" NOT NULL,
	block_id text COLLATE "C" NOT NULL,
	email_index bytea,
	address bytea,
	account_id text COLLATE "C",
	state text NOT NULL,
	offered_at timestamp with time zone NOT NULL,
	expires_at timestamp with time zone,
	taken_at timestamp with time zone,
	ended_at timestamp with time zone,
	forget_at timestamp with time zone,
	CONSTRAINT seat_pkey PRIMARY KEY (id),
	CONSTRAINT seat_block_id_fkey FOREIGN KEY (block_id) REFERENCES seat_block(id),
	CONSTRAINT seat_offered CHECK ((((email_index IS NULL) = (address IS NULL)) AND ((email_index IS NULL) = (expires_at IS NULL)))),
	CONSTRAINT seat_state CHECK (((state = ANY (ARRAY['offered'::text, 'taken'::text, 'withdrawn'::text, 'released'::text])) AND ((state = ANY (ARRAY['taken'::text, 'released'::text])) = ((account_id IS NOT NULL) AND (taken_at IS NOT NULL))) AND ((state = ANY (ARRAY['withdrawn'::text, 'released'::text])) = (ended_at IS NOT NULL))))
);
CREATE UNIQUE INDEX seat_account ON seat USING btree (block_id, account_id) WHERE (ended_at IS NULL);
CREATE UNIQUE INDEX seat_address ON seat USING btree (block_id, email_index) WHERE (ended_at IS NULL);
CREATE INDEX seat_forget ON seat USING btree (forget_at) WHERE (forget_at IS NOT NULL);
CREATE INDEX seat_list ON seat USING btree (block_id, offered_at DESC, id DESC);
COMMENT ON TABLE seat IS 'Seats that were given out, and to whom. Personal data of who they were offered to: their address, sealed; and of the account that took one. Deleted with their keys 90 days after their end.';
COMMENT ON COLUMN seat.email_index IS 'A keyed hash of the address, as person has it; null for what the holder took.';
COMMENT ON COLUMN seat.address IS 'Sealed with the key of the seat.';
COMMENT ON COLUMN seat.expires_at IS 'When its invitation ends.';
COMMENT ON COLUMN seat.forget_at IS 'When it is deleted: 90 days after its end or that of the block; null for never.';

CREATE TABLE seat_block (
	id text COLLATE "C" NOT NULL,
	course_id text COLLATE "C" NOT NULL,
	holder_id text COLLATE "C" NOT NULL,
	source_id text COLLATE "C" NOT NULL,
	seats integer NOT NULL,
	taken integer NOT NULL DEFAULT 0,
	offered integer NOT NULL DEFAULT 0,
	starts_at timestamp with time zone NOT NULL,
	ends_at timestamp with time zone,
	reassign_after_days integer NOT NULL,
	max_reassignments integer NOT NULL,
	reassignments integer NOT NULL DEFAULT 0,
	revision bigint NOT NULL DEFAULT 1,
	created_by text COLLATE "C" NOT NULL,
	created_at timestamp with time zone NOT NULL,
	revoked_at timestamp with time zone,
	revoke_reason text,
	CONSTRAINT seat_block_pkey PRIMARY KEY (id),
	CONSTRAINT seat_block_period CHECK ((ends_at > starts_at)),
	CONSTRAINT seat_block_reassignments CHECK ((reassignments >= 0)),
	CONSTRAINT seat_block_revoked CHECK (((revoked_at IS NULL) = (revoke_reason IS NULL))),
	CONSTRAINT seat_block_seats CHECK (((taken >= 0) AND (offered >= 0) AND ((taken + offered) <= seats)))
);
CREATE INDEX seat_block_course ON seat_block USING btree (course_id, created_at DESC, id DESC);
CREATE INDEX seat_block_holder ON seat_block USING btree (holder_id, created_at DESC, id DESC);
CREATE UNIQUE INDEX seat_block_source ON seat_block USING btree (source_id, course_id) WHERE (source_id <> ''::text);
COMMENT ON TABLE seat_block IS 'Seats of a course that somebody gives out. Personal data of the account''s holder: what they have bought for others.';
COMMENT ON COLUMN seat_block.source_id IS 'The order line; empty for what somebody made by hand.';
COMMENT ON COLUMN seat_block.taken IS 'How many seats are taken, and offered how many are offered: counted with every change of a seat, under the lock of this row.';
COMMENT ON COLUMN seat_block.max_reassignments IS 'How many taken seats can be released in all; -1 for any number.';

CREATE TABLE source_end (
	source_id text COLLATE "C" NOT NULL,
	ends_at timestamp with time zone NOT NULL,
	CONSTRAINT source_end_pkey PRIMARY KEY (source_id)
);
COMMENT ON TABLE source_end IS 'Lines of subscriptions that have ended: what they gave, and what comes later by them, ends then at the latest. No personal data.';

CREATE TABLE transfer (
	id text COLLATE "C" NOT NULL,
	course_id text COLLATE "C" NOT NULL,
	from_id text COLLATE "C" NOT NULL,
	to_id text COLLATE "C" NOT NULL,
	offered_by text COLLATE "C" NOT NULL,
	reason text NOT NULL,
	state text NOT NULL DEFAULT 'offered'::text,
	offered_at timestamp with time zone NOT NULL,
	expires_at timestamp with time zone NOT NULL,
	version bigint,
	CONSTRAINT transfer_pkey PRIMARY KEY (id),
	CONSTRAINT transfer_state CHECK (((state = ANY (ARRAY['offered'::text, 'accepted'::text, 'declined'::text, 'replaced'::text])) AND ((state = 'accepted'::text) = (version IS NOT NULL))))
);
CREATE UNIQUE INDEX transfer_once ON transfer USING btree (course_id) WHERE (state = 'offered'::text);
CREATE INDEX transfer_receiver ON transfer USING btree (to_id, offered_at DESC, id DESC) WHERE (state = 'offered'::text);
CREATE UNIQUE INDEX transfer_version ON transfer USING btree (course_id, version);
COMMENT ON TABLE transfer IS 'Offers of courses to new owners. Personal data of those who gave and received them.';
COMMENT ON COLUMN transfer.version IS 'Grows with each change of a course''s owner.';

CREATE TABLE waitlist (
	id text COLLATE "C" NOT NULL,
	cohort_id text COLLATE "C" NOT NULL,
	course_id text COLLATE "C" NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	state text NOT NULL DEFAULT 'waiting'::text,
	joined_at timestamp with time zone NOT NULL,
	offer_ends_at timestamp with time zone,
	ended_at timestamp with time zone,
	CONSTRAINT waitlist_pkey PRIMARY KEY (id),
	CONSTRAINT waitlist_cohort_id_fkey FOREIGN KEY (cohort_id) REFERENCES cohort(id),
	CONSTRAINT waitlist_offer CHECK (
CASE state
    WHEN 'waiting'::text THEN (offer_ends_at IS NULL)
    WHEN 'offered'::text THEN (offer_ends_at IS NOT NULL)
    ELSE true
END),
	CONSTRAINT waitlist_state CHECK ((state = ANY (ARRAY['waiting'::text, 'offered'::text, 'accepted'::text, 'expired'::text, 'left'::text, 'removed'::text, 'closed'::text])))
);
CREATE INDEX waitlist_account ON waitlist USING btree (account_id, joined_at DESC, id DESC);
CREATE INDEX waitlist_line ON waitlist USING btree (cohort_id, joined_at, id) WHERE (state = 'waiting'::text);
CREATE INDEX waitlist_list ON waitlist USING btree (cohort_id, joined_at, id) WHERE (state = ANY (ARRAY['waiting'::text, 'offered'::text]));
CREATE INDEX waitlist_offer_ends ON waitlist USING btree (cohort_id, offer_ends_at) WHERE (state = 'offered'::text);
CREATE UNIQUE INDEX waitlist_once ON waitlist USING btree (cohort_id, account_id) WHERE (state = ANY (ARRAY['waiting'::text, 'offered'::text]));
COMMENT ON TABLE waitlist IS 'Who waits for a seat of a cohort, and who waited. Personal data of the account''s holder.';
COMMENT ON COLUMN waitlist.offer_ends_at IS 'Until when a seat is, or was, held for them.';
