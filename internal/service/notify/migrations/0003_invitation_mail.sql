-- +goose Up

-- By which the last mail of an invitation is known, with which its key goes.
CREATE INDEX mail_invitation ON mail (account_id) WHERE kind = 'invitation';
COMMENT ON COLUMN mail.account_id IS 'Whom the mail is to, and whose key seals it: an account; for mails that invite somebody, the invitation.';
