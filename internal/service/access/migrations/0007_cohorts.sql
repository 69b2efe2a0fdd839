-- +goose Up

CREATE TABLE cohort (
	id text COLLATE "C" PRIMARY KEY,
	course_id text COLLATE "C" NOT NULL,
	name text NOT NULL,
	starts_at timestamptz NOT NULL,
	ends_at timestamptz,
	enroll_from timestamptz,
	enroll_until timestamptz,
	seats integer NOT NULL,
	taken integer NOT NULL DEFAULT 0,
	offered integer NOT NULL DEFAULT 0,
	waiting integer NOT NULL DEFAULT 0,
	open boolean NOT NULL,
	offer_hours integer NOT NULL,
	revision bigint NOT NULL DEFAULT 1,
	cancelled_at timestamptz,
	cancel_reason text NOT NULL DEFAULT '',
	rescheduled boolean NOT NULL DEFAULT false,
	tend_at timestamptz,
	CONSTRAINT cohort_name UNIQUE (course_id, name),
	CONSTRAINT cohort_period CHECK (ends_at > starts_at),
	CONSTRAINT cohort_seats CHECK (taken >= 0 AND offered >= 0 AND waiting >= 0 AND (seats = 0 OR taken + offered <= seats))
);
CREATE INDEX cohort_course ON cohort (course_id, starts_at DESC, id DESC);
CREATE INDEX cohort_tend ON cohort (tend_at) WHERE tend_at IS NOT NULL;
COMMENT ON TABLE cohort IS 'Dated runs of courses. No personal data.';
COMMENT ON COLUMN cohort.seats IS 'How many it has room for; 0 for any number.';
COMMENT ON COLUMN cohort.offered IS 'Seats that are held for people who waited.';
COMMENT ON COLUMN cohort.rescheduled IS 'Whether grants of its members may still have the times it had before.';
COMMENT ON COLUMN cohort.tend_at IS 'When something is to be done next by itself; null for nothing.';

CREATE TABLE cohort_member (
	id text COLLATE "C" PRIMARY KEY,
	cohort_id text COLLATE "C" NOT NULL REFERENCES cohort,
	course_id text COLLATE "C" NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	sequence bigint NOT NULL,
	entitlement_id text COLLATE "C",
	joined_at timestamptz NOT NULL,
	left_at timestamptz,
	left_why text NOT NULL DEFAULT '',
	CONSTRAINT cohort_member_sequence UNIQUE (course_id, account_id, sequence),
	CONSTRAINT cohort_member_left CHECK ((left_at IS NULL) = (left_why = ''))
);
CREATE UNIQUE INDEX cohort_member_once ON cohort_member (course_id, account_id) WHERE left_at IS NULL;
CREATE INDEX cohort_member_list ON cohort_member (cohort_id, joined_at DESC, id DESC);
CREATE INDEX cohort_member_account ON cohort_member (account_id, joined_at DESC, id DESC);
CREATE INDEX cohort_member_present ON cohort_member (cohort_id, id) WHERE left_at IS NULL;
CREATE INDEX cohort_member_entitlement ON cohort_member (entitlement_id) WHERE left_at IS NULL;
COMMENT ON TABLE cohort_member IS 'Who is in which cohort, and who was. Personal data of the account''s holder.';
COMMENT ON COLUMN cohort_member.sequence IS 'Grows with each cohort of the course that the account comes into.';
COMMENT ON COLUMN cohort_member.entitlement_id IS 'The grant that the cohort gave; null for who had access before.';

CREATE TABLE waitlist (
	id text COLLATE "C" PRIMARY KEY,
	cohort_id text COLLATE "C" NOT NULL REFERENCES cohort,
	course_id text COLLATE "C" NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	state text NOT NULL DEFAULT 'waiting',
	joined_at timestamptz NOT NULL,
	offer_ends_at timestamptz,
	ended_at timestamptz,
	CONSTRAINT waitlist_state CHECK (state IN ('waiting', 'offered', 'accepted', 'expired', 'left', 'removed', 'closed')),
	CONSTRAINT waitlist_offer CHECK (CASE state WHEN 'waiting' THEN offer_ends_at IS NULL WHEN 'offered' THEN offer_ends_at IS NOT NULL ELSE true END)
);
CREATE UNIQUE INDEX waitlist_once ON waitlist (cohort_id, account_id) WHERE state IN ('waiting', 'offered');
CREATE INDEX waitlist_line ON waitlist (cohort_id, joined_at, id) WHERE state = 'waiting';
CREATE INDEX waitlist_list ON waitlist (cohort_id, joined_at, id) WHERE state IN ('waiting', 'offered');
CREATE INDEX waitlist_offer_ends ON waitlist (cohort_id, offer_ends_at) WHERE state = 'offered';
CREATE INDEX waitlist_account ON waitlist (account_id, joined_at DESC, id DESC);
COMMENT ON TABLE waitlist IS 'Who waits for a seat of a cohort, and who waited. Personal data of the account''s holder.';
COMMENT ON COLUMN waitlist.offer_ends_at IS 'Until when a seat is, or was, held for them.';

CREATE TABLE enrollment_policy (
	course_id text COLLATE "C" PRIMARY KEY,
	cohort_only boolean NOT NULL,
	revision bigint NOT NULL
);
COMMENT ON TABLE enrollment_policy IS 'How people get into free courses by themselves, where it was ever changed. No personal data.';
COMMENT ON COLUMN enrollment_policy.cohort_only IS 'Whether only through a cohort.';
