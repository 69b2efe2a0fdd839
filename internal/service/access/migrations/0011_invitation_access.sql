-- +goose Up

ALTER TABLE email_invitation
	ADD COLUMN access_from timestamptz,
	ADD COLUMN access_ends timestamptz;
COMMENT ON COLUMN email_invitation.access_from IS 'When access by it begins; null for when it is accepted.';
COMMENT ON COLUMN email_invitation.access_ends IS 'When access by it ends; null for no end, and where access_days says when.';
