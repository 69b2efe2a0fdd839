-- +goose Up

ALTER TABLE account
	ADD COLUMN avatar_id text COLLATE "C" NOT NULL DEFAULT '',
	ADD COLUMN avatar_version bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN account.avatar_id IS 'The picture as last heard of media, which keeps it; empty when there is none.';
COMMENT ON COLUMN account.avatar_version IS 'The version of the event that said so.';
