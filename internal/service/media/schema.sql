-- What the migrations make of the schema "media". Generated; do not edit:
-- bin/testservers -only postgres -- go test ./internal/app -run TestSchemaDumps -update

CREATE TABLE avatar (
	account_id text COLLATE "C" NOT NULL,
	id text COLLATE "C",
	size integer,
	created_at timestamp with time zone,
	version bigint NOT NULL DEFAULT 0,
	tries integer NOT NULL,
	tries_since timestamp with time zone NOT NULL,
	CONSTRAINT avatar_pkey PRIMARY KEY (account_id),
	CONSTRAINT avatar_id UNIQUE (id),
	CONSTRAINT avatar_whole CHECK ((((id IS NULL) = (size IS NULL)) AND ((id IS NULL) = (created_at IS NULL))))
);
COMMENT ON TABLE avatar IS 'The picture of each profile, whose content is in the bucket as media/<id>. Personal data of the account''s holder.';
COMMENT ON COLUMN avatar.id IS 'The picture; null when there is none, while version goes on.';
COMMENT ON COLUMN avatar.tries IS 'How many uploads were begun since tries_since.';

CREATE TABLE course_cover (
	course_id text COLLATE "C" NOT NULL,
	sequence bigint NOT NULL,
	media_id text COLLATE "C",
	CONSTRAINT course_cover_pkey PRIMARY KEY (course_id)
);
COMMENT ON TABLE course_cover IS 'The cover of each course as last heard, null when it has none or is not published, with the sequence of the event that said so. No personal data.';

CREATE TABLE media (
	id text COLLATE "C" NOT NULL,
	course_id text COLLATE "C" NOT NULL,
	filename text NOT NULL,
	content_type text NOT NULL,
	size bigint NOT NULL,
	sha256 text NOT NULL,
	public boolean NOT NULL DEFAULT false,
	uploaded_by text COLLATE "C" NOT NULL,
	created_at timestamp with time zone NOT NULL,
	state text NOT NULL DEFAULT 'ready'::text,
	problem text NOT NULL DEFAULT ''::text,
	percent smallint NOT NULL DEFAULT 100,
	state_version bigint NOT NULL DEFAULT 1,
	object_id text COLLATE "C",
	deleted_at timestamp with time zone,
	library_version bigint NOT NULL DEFAULT 0,
	kind text NOT NULL GENERATED ALWAYS AS (
CASE
    WHEN (content_type ~~ 'image/%'::text) THEN 'image'::text
    WHEN (content_type ~~ 'video/%'::text) THEN 'video'::text
    WHEN (content_type ~~ 'audio/%'::text) THEN 'audio'::text
    WHEN ((content_type ~~ 'text/%'::text) OR (content_type ~~ 'application/vnd.o%'::text) OR (content_type ~~ 'application/vnd.ms-%'::text) OR (content_type = ANY (ARRAY['application/pdf'::text, 'application/msword'::text, 'application/rtf'::text, 'application/epub+zip'::text]))) THEN 'document'::text
    ELSE 'other'::text
END) STORED,
	CONSTRAINT media_pkey PRIMARY KEY (id),
	CONSTRAINT media_percent CHECK (((percent >= 0) AND (percent <= 100))),
	CONSTRAINT media_size_positive CHECK ((size > 0)),
	CONSTRAINT media_state CHECK ((state = ANY (ARRAY['scanning'::text, 'waiting'::text, 'processing'::text, 'ready'::text, 'broken'::text, 'refused'::text])))
);
CREATE INDEX media_course ON media USING btree (course_id, created_at DESC, id DESC);
CREATE INDEX media_deleted_at ON media USING btree (deleted_at) WHERE (deleted_at IS NOT NULL);
CREATE INDEX media_kind ON media USING btree (course_id, kind, created_at DESC, id DESC);
CREATE INDEX media_object ON media USING btree (COALESCE(object_id, id));
COMMENT ON TABLE media IS 'The files of courses whose content is in the bucket as media/<id>. The name and the content are course material; uploaded_by says which account brought them.';
COMMENT ON COLUMN media.public IS 'Anybody may fetch it: it is the cover of a published course.';
COMMENT ON COLUMN media.state IS 'scanning: it is looked through for malware. waiting: for its turn or for a tool that is missing. processing: variants are made. ready: it can be shown. broken: it is not what it says it is, or could not be processed. refused: malware was found.';
COMMENT ON COLUMN media.problem IS 'A stable code that says why it waits, is broken or was refused; empty otherwise.';
COMMENT ON COLUMN media.percent IS 'How much of the processing is done.';
COMMENT ON COLUMN media.state_version IS 'Grows with each change of the state that is told.';
COMMENT ON COLUMN media.object_id IS 'The object in the bucket that has the bytes, media/<object_id>, and under which what was made of them is; null where it is the id. Copies have that of what they are of. It is deleted with the last row that has it.';
COMMENT ON COLUMN media.deleted_at IS 'When it was deleted; it can be restored for 30 days, and is gone after.';
COMMENT ON COLUMN media.library_version IS 'Grows with each deletion and restoration that is told.';

CREATE TABLE transfer (
	id text COLLATE "C" NOT NULL,
	course_id text COLLATE "C" NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	filename text NOT NULL,
	length bigint,
	sha256 text NOT NULL,
	metadata text NOT NULL,
	direct boolean NOT NULL,
	media_id text COLLATE "C" NOT NULL,
	part_size bigint NOT NULL,
	bucket_upload text NOT NULL DEFAULT ''::text,
	next_part integer NOT NULL DEFAULT 1,
	stored bigint NOT NULL DEFAULT 0,
	tail bigint NOT NULL DEFAULT 0,
	tail_epoch integer NOT NULL DEFAULT 0,
	epoch integer NOT NULL DEFAULT 0,
	hash_state bytea NOT NULL DEFAULT '\x'::bytea,
	reserved bigint NOT NULL,
	writer text,
	writer_until timestamp with time zone,
	state text NOT NULL DEFAULT 'open'::text,
	problem text NOT NULL DEFAULT ''::text,
	cleaned boolean NOT NULL DEFAULT false,
	created_at timestamp with time zone NOT NULL,
	expires_at timestamp with time zone NOT NULL,
	CONSTRAINT transfer_pkey PRIMARY KEY (id),
	CONSTRAINT transfer_media UNIQUE (media_id),
	CONSTRAINT transfer_length CHECK ((length > 0)),
	CONSTRAINT transfer_reserved CHECK ((reserved >= 0)),
	CONSTRAINT transfer_state CHECK ((state = ANY (ARRAY['open'::text, 'finishing'::text, 'done'::text, 'failed'::text, 'aborted'::text]))),
	CONSTRAINT transfer_stored CHECK (((stored >= 0) AND (stored <= COALESCE(length, stored)) AND ((tail >= 0) AND (tail <= stored))))
);
CREATE INDEX transfer_account ON transfer USING btree (account_id, created_at DESC, id DESC) WHERE (state = ANY (ARRAY['open'::text, 'finishing'::text]));
CREATE INDEX transfer_expires_at ON transfer USING btree (expires_at);
CREATE INDEX transfer_finishing ON transfer USING btree (created_at) WHERE (state = 'finishing'::text);
CREATE INDEX transfer_uncleaned ON transfer USING btree (expires_at) WHERE ((NOT cleaned) AND (state = ANY (ARRAY['done'::text, 'failed'::text, 'aborted'::text])));
COMMENT ON TABLE transfer IS 'Uploads that come in pieces, and for a day what became of them. The name is course material; account_id says whose upload it is.';
COMMENT ON COLUMN transfer.media_id IS 'The id of the file that it becomes, of which its object in the bucket is named.';
COMMENT ON COLUMN transfer.next_part IS 'Taken by a writer before it stores a part, so that no two store one with the same number.';
COMMENT ON COLUMN transfer.tail IS 'How many of the stored bytes are no part yet, because parts must not be small: they are the object upload/<id>/<tail_epoch>.';
COMMENT ON COLUMN transfer.epoch IS 'Grows with each writer, so that no two write to one object.';
COMMENT ON COLUMN transfer.hash_state IS 'SHA-256 of the stored bytes as far as it is computed.';
COMMENT ON COLUMN transfer.writer IS 'Who alone may change it until writer_until; null when nobody does.';
COMMENT ON COLUMN transfer.cleaned IS 'Nothing of it is in the bucket any more but the file that it became.';

CREATE TABLE transfer_part (
	transfer_id text COLLATE "C" NOT NULL,
	number integer NOT NULL,
	etag text NOT NULL,
	size bigint NOT NULL,
	sha256 text NOT NULL,
	CONSTRAINT transfer_part_pkey PRIMARY KEY (transfer_id, number),
	CONSTRAINT transfer_part_transfer FOREIGN KEY (transfer_id) REFERENCES transfer(id) ON DELETE CASCADE
);
COMMENT ON TABLE transfer_part IS 'The parts in the bucket that an upload is put together of. No personal data.';

CREATE TABLE upload (
	id text COLLATE "C" NOT NULL,
	started_at timestamp with time zone NOT NULL,
	abandoned boolean NOT NULL DEFAULT false,
	CONSTRAINT upload_pkey PRIMARY KEY (id)
);
CREATE INDEX upload_started_at ON upload USING btree (started_at);
COMMENT ON TABLE upload IS 'Objects that may be in the bucket and are not of a row of media or avatar: written before an object is stored, deleted when its row is inserted, and written again when an avatar is replaced. What is left over is swept. No personal data.';

CREATE TABLE usage (
	id text COLLATE "C" NOT NULL,
	used bigint NOT NULL,
	reserved bigint NOT NULL,
	unfinished integer NOT NULL,
	CONSTRAINT usage_pkey PRIMARY KEY (id),
	CONSTRAINT usage_reserved CHECK ((reserved >= 0)),
	CONSTRAINT usage_unfinished CHECK ((unfinished >= 0)),
	CONSTRAINT usage_used CHECK ((used >= 0))
);
COMMENT ON TABLE usage IS 'How many bytes the files of a course take, and those that an account has uploaded: id is either''s. reserved is for uploads that have begun, unfinished counts them. How much an account has uploaded is personal data of its holder.';
