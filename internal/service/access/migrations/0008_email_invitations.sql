-- +goose Up

CREATE TABLE email_invitation (
	id text COLLATE "C" PRIMARY KEY,
	course_id text COLLATE "C" NOT NULL,
	email_index bytea NOT NULL,
	address bytea NOT NULL,
	message bytea,
	code_hash bytea,
	access_days integer NOT NULL,
	locale text NOT NULL,
	invited_by text COLLATE "C" NOT NULL,
	created_at timestamptz NOT NULL,
	expires_at timestamptz NOT NULL,
	mails integer NOT NULL DEFAULT 0,
	mailed_at timestamptz,
	state text NOT NULL DEFAULT 'open',
	ended_at timestamptz,
	accepted_by text COLLATE "C",
	CONSTRAINT email_invitation_code UNIQUE (code_hash),
	CONSTRAINT email_invitation_state CHECK (state IN ('open', 'accepted', 'declined', 'revoked', 'expired')
		AND (state = 'open') = (ended_at IS NULL) AND (state = 'accepted') = (accepted_by IS NOT NULL))
);
-- An address is invited to a course by one open invitation.
CREATE UNIQUE INDEX email_invitation_open ON email_invitation (course_id, email_index) WHERE state = 'open';
CREATE INDEX email_invitation_course ON email_invitation (course_id, created_at DESC, id DESC);
CREATE INDEX email_invitation_course_state ON email_invitation (course_id, state, created_at DESC, id DESC);
CREATE INDEX email_invitation_address ON email_invitation (email_index, created_at DESC, id DESC) WHERE state = 'open';
CREATE INDEX email_invitation_inviter ON email_invitation (invited_by, created_at);
CREATE INDEX email_invitation_due ON email_invitation (expires_at) WHERE state = 'open';
CREATE INDEX email_invitation_ended ON email_invitation (ended_at) WHERE state <> 'open';
COMMENT ON TABLE email_invitation IS 'Invitations to a course by e-mail. Personal data of who is invited: their address and what was written to them, sealed, and whether they came; and of who invited. Deleted with their keys 90 days after their end.';
COMMENT ON COLUMN email_invitation.email_index IS 'A keyed hash of the address, as person has it.';
COMMENT ON COLUMN email_invitation.address IS 'Sealed with the key of the invitation.';
COMMENT ON COLUMN email_invitation.message IS 'Sealed with the key of the invitation; null for none.';
COMMENT ON COLUMN email_invitation.code_hash IS 'SHA-256 of the code of the last mail, which is kept nowhere; null before there was a mail.';
COMMENT ON COLUMN email_invitation.invited_by IS 'An account, or the name of the service that invited by itself.';
COMMENT ON COLUMN email_invitation.state IS 'One that is past its end is expired, also before this says so.';

CREATE TABLE invitation_address (
	email_index bytea PRIMARY KEY,
	mailed_at timestamptz[] NOT NULL,
	until timestamptz NOT NULL
);
CREATE INDEX invitation_address_until ON invitation_address (until);
COMMENT ON TABLE invitation_address IS 'When an address was last sent invitations, so that nobody''s mailbox is filled through us. Personal data of who has the address. Deleted after a day.';
