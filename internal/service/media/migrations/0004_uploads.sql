-- +goose Up

ALTER TABLE media
	ADD COLUMN object_id text COLLATE "C",
	ADD COLUMN deleted_at timestamptz,
	ADD COLUMN library_version bigint NOT NULL DEFAULT 0,
	ADD COLUMN kind text NOT NULL GENERATED ALWAYS AS (CASE
		WHEN content_type LIKE 'image/%' THEN 'image'
		WHEN content_type LIKE 'video/%' THEN 'video'
		WHEN content_type LIKE 'audio/%' THEN 'audio'
		WHEN content_type LIKE 'text/%' OR content_type LIKE 'application/vnd.o%' OR content_type LIKE 'application/vnd.ms-%'
			OR content_type IN ('application/pdf', 'application/msword', 'application/rtf', 'application/epub+zip') THEN 'document'
		ELSE 'other' END) STORED;
COMMENT ON COLUMN media.object_id IS 'The object in the bucket that has the bytes, media/<object_id>, and under which what was made of them is; null where it is the id. Copies have that of what they are of. It is deleted with the last row that has it.';
COMMENT ON COLUMN media.deleted_at IS 'When it was deleted; it can be restored for 30 days, and is gone after.';
COMMENT ON COLUMN media.library_version IS 'Grows with each deletion and restoration that is told.';
CREATE INDEX media_kind ON media (course_id, kind, created_at DESC, id DESC);
CREATE INDEX media_object ON media ((coalesce(object_id, id)));
CREATE INDEX media_deleted_at ON media (deleted_at) WHERE deleted_at IS NOT NULL;

CREATE TABLE usage (
	id text COLLATE "C" CONSTRAINT usage_pkey PRIMARY KEY,
	used bigint NOT NULL CONSTRAINT usage_used CHECK (used >= 0),
	reserved bigint NOT NULL CONSTRAINT usage_reserved CHECK (reserved >= 0),
	unfinished integer NOT NULL CONSTRAINT usage_unfinished CHECK (unfinished >= 0)
);
COMMENT ON TABLE usage IS 'How many bytes the files of a course take, and those that an account has uploaded: id is either''s. reserved is for uploads that have begun, unfinished counts them. How much an account has uploaded is personal data of its holder.';
INSERT INTO usage SELECT course_id, sum(size), 0, 0 FROM media GROUP BY course_id;
INSERT INTO usage SELECT uploaded_by, sum(size), 0, 0 FROM media WHERE uploaded_by <> '' GROUP BY uploaded_by ON CONFLICT DO NOTHING;

CREATE TABLE transfer (
	id text COLLATE "C" CONSTRAINT transfer_pkey PRIMARY KEY,
	course_id text COLLATE "C" NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	filename text NOT NULL,
	length bigint CONSTRAINT transfer_length CHECK (length > 0),
	sha256 text NOT NULL,
	metadata text NOT NULL,
	direct boolean NOT NULL,
	media_id text COLLATE "C" NOT NULL CONSTRAINT transfer_media UNIQUE,
	part_size bigint NOT NULL,
	bucket_upload text NOT NULL DEFAULT '',
	next_part integer NOT NULL DEFAULT 1,
	stored bigint NOT NULL DEFAULT 0,
	tail bigint NOT NULL DEFAULT 0,
	tail_epoch integer NOT NULL DEFAULT 0,
	epoch integer NOT NULL DEFAULT 0,
	hash_state bytea NOT NULL DEFAULT '',
	reserved bigint NOT NULL CONSTRAINT transfer_reserved CHECK (reserved >= 0),
	writer text,
	writer_until timestamptz,
	state text NOT NULL DEFAULT 'open' CONSTRAINT transfer_state CHECK (state IN ('open', 'finishing', 'done', 'failed', 'aborted')),
	problem text NOT NULL DEFAULT '',
	cleaned boolean NOT NULL DEFAULT false,
	created_at timestamptz NOT NULL,
	expires_at timestamptz NOT NULL,
	CONSTRAINT transfer_stored CHECK (stored >= 0 AND stored <= coalesce(length, stored) AND tail BETWEEN 0 AND stored)
);
COMMENT ON TABLE transfer IS 'Uploads that come in pieces, and for a day what became of them. The name is course material; account_id says whose upload it is.';
COMMENT ON COLUMN transfer.media_id IS 'The id of the file that it becomes, of which its object in the bucket is named.';
COMMENT ON COLUMN transfer.tail IS 'How many of the stored bytes are no part yet, because parts must not be small: they are the object upload/<id>/<tail_epoch>.';
COMMENT ON COLUMN transfer.epoch IS 'Grows with each writer, so that no two write to one object.';
COMMENT ON COLUMN transfer.next_part IS 'Taken by a writer before it stores a part, so that no two store one with the same number.';
COMMENT ON COLUMN transfer.hash_state IS 'SHA-256 of the stored bytes as far as it is computed.';
COMMENT ON COLUMN transfer.writer IS 'Who alone may change it until writer_until; null when nobody does.';
COMMENT ON COLUMN transfer.cleaned IS 'Nothing of it is in the bucket any more but the file that it became.';
CREATE INDEX transfer_account ON transfer (account_id, created_at DESC, id DESC) WHERE state IN ('open', 'finishing');
CREATE INDEX transfer_expires_at ON transfer (expires_at);
CREATE INDEX transfer_finishing ON transfer (created_at) WHERE state = 'finishing';
CREATE INDEX transfer_uncleaned ON transfer (expires_at) WHERE NOT cleaned AND state IN ('done', 'failed', 'aborted');

CREATE TABLE transfer_part (
	transfer_id text COLLATE "C" NOT NULL CONSTRAINT transfer_part_transfer REFERENCES transfer ON DELETE CASCADE,
	number integer NOT NULL,
	etag text NOT NULL,
	size bigint NOT NULL,
	sha256 text NOT NULL,
	CONSTRAINT transfer_part_pkey PRIMARY KEY (transfer_id, number)
);
COMMENT ON TABLE transfer_part IS 'The parts in the bucket that an upload is put together of. No personal data.';
