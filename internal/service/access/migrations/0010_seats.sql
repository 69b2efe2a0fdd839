-- +goose Up

CREATE TABLE seat_block (
	id text COLLATE "C" PRIMARY KEY,
	course_id text COLLATE "C" NOT NULL,
	holder_id text COLLATE "C" NOT NULL,
	source_id text COLLATE "C" NOT NULL,
	seats integer NOT NULL,
	taken integer NOT NULL DEFAULT 0,
	offered integer NOT NULL DEFAULT 0,
	starts_at timestamptz NOT NULL,
	ends_at timestamptz,
	reassign_after_days integer NOT NULL,
	max_reassignments integer NOT NULL,
	reassignments integer NOT NULL DEFAULT 0,
	revision bigint NOT NULL DEFAULT 1,
	created_by text COLLATE "C" NOT NULL,
	created_at timestamptz NOT NULL,
	revoked_at timestamptz,
	revoke_reason text,
	CONSTRAINT seat_block_seats CHECK (taken >= 0 AND offered >= 0 AND taken + offered <= seats),
	CONSTRAINT seat_block_reassignments CHECK (reassignments >= 0),
	CONSTRAINT seat_block_period CHECK (ends_at > starts_at),
	CONSTRAINT seat_block_revoked CHECK ((revoked_at IS NULL) = (revoke_reason IS NULL))
);
-- What was sold gives its seats once.
CREATE UNIQUE INDEX seat_block_source ON seat_block (source_id, course_id) WHERE source_id <> '';
CREATE INDEX seat_block_course ON seat_block (course_id, created_at DESC, id DESC);
CREATE INDEX seat_block_holder ON seat_block (holder_id, created_at DESC, id DESC);
COMMENT ON TABLE seat_block IS 'Seats of a course that somebody gives out. Personal data of the account''s holder: what they have bought for others.';
COMMENT ON COLUMN seat_block.source_id IS 'The order line; empty for what somebody made by hand.';
COMMENT ON COLUMN seat_block.taken IS 'How many seats are taken, and offered how many are offered: counted with every change of a seat, under the lock of this row.';
COMMENT ON COLUMN seat_block.max_reassignments IS 'How many taken seats can be released in all; -1 for any number.';

CREATE TABLE seat (
	id text COLLATE "C" PRIMARY KEY,
	block_id text COLLATE "C" NOT NULL REFERENCES seat_block (id),
	email_index bytea,
	address bytea,
	account_id text COLLATE "C",
	state text NOT NULL,
	offered_at timestamptz NOT NULL,
	expires_at timestamptz,
	taken_at timestamptz,
	ended_at timestamptz,
	forget_at timestamptz,
	CONSTRAINT seat_state CHECK (state IN ('offered', 'taken', 'withdrawn', 'released')
		AND (state IN ('taken', 'released')) = (account_id IS NOT NULL AND taken_at IS NOT NULL)
		AND (state IN ('withdrawn', 'released')) = (ended_at IS NOT NULL)),
	CONSTRAINT seat_offered CHECK ((email_index IS NULL) = (address IS NULL) AND (email_index IS NULL) = (expires_at IS NULL))
);
-- An address and an account have one seat of a block at a time.
CREATE UNIQUE INDEX seat_address ON seat (block_id, email_index) WHERE ended_at IS NULL;
CREATE UNIQUE INDEX seat_account ON seat (block_id, account_id) WHERE ended_at IS NULL;
CREATE INDEX seat_list ON seat (block_id, offered_at DESC, id DESC);
CREATE INDEX seat_forget ON seat (forget_at) WHERE forget_at IS NOT NULL;
COMMENT ON TABLE seat IS 'Seats that were given out, and to whom. Personal data of who they were offered to: their address, sealed; and of the account that took one. Deleted with their keys 90 days after their end.';
COMMENT ON COLUMN seat.email_index IS 'A keyed hash of the address, as person has it; null for what the holder took.';
COMMENT ON COLUMN seat.address IS 'Sealed with the key of the seat.';
COMMENT ON COLUMN seat.expires_at IS 'When its invitation ends.';
COMMENT ON COLUMN seat.forget_at IS 'When it is deleted: 90 days after its end or that of the block; null for never.';

ALTER TABLE email_invitation ADD COLUMN seat_id text COLLATE "C" NOT NULL DEFAULT '';
-- Somebody who is invited to a course can be offered a seat of it as well.
DROP INDEX email_invitation_open;
CREATE UNIQUE INDEX email_invitation_open ON email_invitation (course_id, email_index, seat_id) WHERE state = 'open';
CREATE UNIQUE INDEX email_invitation_seat ON email_invitation (seat_id) WHERE seat_id <> '';
COMMENT ON COLUMN email_invitation.seat_id IS 'The seat that it offers; empty for none.';
