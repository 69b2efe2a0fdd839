-- +goose Up

CREATE TABLE avatar (
	account_id text COLLATE "C" CONSTRAINT avatar_pkey PRIMARY KEY,
	id text COLLATE "C" CONSTRAINT avatar_id UNIQUE,
	size integer,
	created_at timestamptz,
	version bigint NOT NULL DEFAULT 0,
	tries integer NOT NULL,
	tries_since timestamptz NOT NULL,
	CONSTRAINT avatar_whole CHECK ((id IS NULL) = (size IS NULL) AND (id IS NULL) = (created_at IS NULL))
);
COMMENT ON TABLE avatar IS 'The picture of each profile, whose content is in the bucket as media/<id>. Personal data of the account''s holder.';
COMMENT ON COLUMN avatar.id IS 'The picture; null when there is none, while version goes on.';
COMMENT ON COLUMN avatar.tries IS 'How many uploads were begun since tries_since.';
COMMENT ON TABLE upload IS 'Objects that may be in the bucket and are not of a row of media or avatar: written before an object is stored, deleted when its row is inserted, and written again when an avatar is replaced. What is left over is swept. No personal data.';
