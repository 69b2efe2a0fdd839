-- +goose Up

CREATE TABLE invitation (
	id text COLLATE "C" PRIMARY KEY,
	course_id text COLLATE "C" NOT NULL,
	code_hash bytea NOT NULL,
	note text NOT NULL,
	uses integer NOT NULL DEFAULT 0,
	max_uses integer NOT NULL,
	access_days integer NOT NULL,
	expires_at timestamptz,
	created_by text COLLATE "C" NOT NULL,
	created_at timestamptz NOT NULL,
	revoked_at timestamptz,
	CONSTRAINT invitation_code UNIQUE (code_hash),
	CONSTRAINT invitation_uses CHECK (uses >= 0 AND (max_uses = 0 OR uses <= max_uses))
);
CREATE INDEX invitation_course ON invitation (course_id, created_at DESC, id DESC);
COMMENT ON TABLE invitation IS 'A code that lets into a course who has it. Who used it is in the ledger of entitlements.';
COMMENT ON COLUMN invitation.code_hash IS 'SHA-256 of the code, which is kept nowhere.';
COMMENT ON COLUMN invitation.max_uses IS 'How many people it lets in; 0 for any number.';
COMMENT ON COLUMN invitation.access_days IS 'How long access lasts from its use on; 0 for no end.';
