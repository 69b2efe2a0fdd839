-- What the migrations make of the schema "media". Generated; do not edit:
-- bin/testservers -only postgres -- go test ./internal/app -run TestSchemaDumps -update

CREATE TABLE asset (
	object_id text COLLATE "C" NOT NULL,
	kind text NOT NULL,
	width integer NOT NULL DEFAULT 0,
	height integer NOT NULL DEFAULT 0,
	duration_ms bigint NOT NULL DEFAULT 0,
	CONSTRAINT asset_pkey PRIMARY KEY (object_id),
	CONSTRAINT asset_kind CHECK ((kind = ANY (ARRAY['image'::text, 'video'::text, 'audio'::text, 'slides'::text, 'file'::text])))
);
COMMENT ON TABLE asset IS 'What was found out of an object by processing it. No personal data.';

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

CREATE TABLE caption (
	media_id text COLLATE "C" NOT NULL,
	language text COLLATE "C" NOT NULL,
	label text NOT NULL,
	main boolean NOT NULL DEFAULT false,
	content text NOT NULL,
	revision bigint NOT NULL DEFAULT 1,
	created_at timestamp with time zone NOT NULL,
	CONSTRAINT caption_pkey PRIMARY KEY (media_id, language),
	CONSTRAINT caption_media FOREIGN KEY (media_id) REFERENCES media(id) ON DELETE CASCADE
);
CREATE UNIQUE INDEX caption_main ON caption USING btree (media_id) WHERE main;
COMMENT ON TABLE caption IS 'Captions of videos as WebVTT, one for each language. Course material.';
COMMENT ON COLUMN caption.main IS 'Shown where a reader has chosen none.';

CREATE TABLE course_cover (
	course_id text COLLATE "C" NOT NULL,
	sequence bigint NOT NULL,
	media_id text COLLATE "C",
	promo_id text COLLATE "C",
	CONSTRAINT course_cover_pkey PRIMARY KEY (course_id)
);
COMMENT ON TABLE course_cover IS 'The cover and the promotional video of each course as last heard, null when it has none or is not published, with the sequence of the event that said so. No personal data.';
COMMENT ON COLUMN course_cover.promo_id IS 'Anybody may watch it, by addresses that are asked for on the landing page.';

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
    WHEN ((content_type ~~ 'audio/%'::text) OR (content_type = 'application/ogg'::text)) THEN 'audio'::text
    WHEN (content_type = ANY (ARRAY['application/pdf'::text, 'application/vnd.openxmlformats-officedocument.presentationml.presentation'::text, 'application/vnd.oasis.opendocument.presentation'::text])) THEN 'slides'::text
    ELSE 'file'::text
END) STORED,
	purpose text COLLATE "C" NOT NULL DEFAULT 'library'::text,
	kept boolean NOT NULL DEFAULT true,
	held boolean NOT NULL DEFAULT false,
	CONSTRAINT media_pkey PRIMARY KEY (id),
	CONSTRAINT media_library CHECK (((purpose = 'library'::text) OR ((NOT public) AND (deleted_at IS NULL)))),
	CONSTRAINT media_percent CHECK (((percent >= 0) AND (percent <= 100))),
	CONSTRAINT media_purpose CHECK ((purpose = ANY (ARRAY['library'::text, 'submission'::text, 'feedback'::text]))),
	CONSTRAINT media_size_positive CHECK ((size > 0)),
	CONSTRAINT media_state CHECK ((state = ANY (ARRAY['scanning'::text, 'waiting'::text, 'processing'::text, 'ready'::text, 'broken'::text, 'refused'::text])))
);
CREATE INDEX media_course ON media USING btree (course_id, created_at DESC, id DESC);
CREATE INDEX media_deleted_at ON media USING btree (deleted_at) WHERE (deleted_at IS NOT NULL);
CREATE INDEX media_kind ON media USING btree (course_id, kind, created_at DESC, id DESC);
CREATE INDEX media_not_kept ON media USING btree (created_at) WHERE (NOT kept);
CREATE INDEX media_object ON media USING btree (COALESCE(object_id, id));
CREATE INDEX media_submission ON media USING btree (course_id, uploaded_by, created_at DESC, id DESC) WHERE (purpose <> 'library'::text);
COMMENT ON TABLE media IS 'The files of courses, and those that students hand in or are given back, whose content is in the bucket as media/<id>. The name and the content are course material, or the student''s work; uploaded_by says which account brought them.';
COMMENT ON COLUMN media.public IS 'Anybody may fetch it: it is the cover of a published course.';
COMMENT ON COLUMN media.state IS 'scanning: it is looked through for malware. waiting: for its turn or for a tool that is missing. processing: variants are made. ready: it can be shown. broken: it is not what it says it is, or could not be processed. refused: malware was found.';
COMMENT ON COLUMN media.problem IS 'A stable code that says why it waits, is broken or was refused; empty otherwise.';
COMMENT ON COLUMN media.percent IS 'How much of the processing is done.';
COMMENT ON COLUMN media.state_version IS 'Grows with each change of the state that is told.';
COMMENT ON COLUMN media.object_id IS 'The object in the bucket that has the bytes, media/<object_id>, and under which what was made of them is; null where it is the id. Copies have that of what they are of. It is deleted with the last row that has it.';
COMMENT ON COLUMN media.deleted_at IS 'When it was deleted; it can be restored for 30 days, and is gone after.';
COMMENT ON COLUMN media.library_version IS 'Grows with each deletion and restoration that is told.';
COMMENT ON COLUMN media.purpose IS 'library: a file of the course. submission: to be handed in. feedback: to be given back. Only those of the library are listed, shown in lessons and copied.';
COMMENT ON COLUMN media.kept IS 'Whether something names a file that is not of the library. What nothing keeps is swept.';
COMMENT ON COLUMN media.held IS 'Whether something that never changes shows it, such as a version of a question. What is held is not purged, deleted or not.';

CREATE TABLE task (
	object_id text COLLATE "C" NOT NULL,
	heavy boolean NOT NULL DEFAULT false,
	tries integer NOT NULL DEFAULT 0,
	next_at timestamp with time zone NOT NULL DEFAULT now(),
	worker text,
	scanned boolean NOT NULL DEFAULT false,
	CONSTRAINT task_pkey PRIMARY KEY (object_id)
);
CREATE INDEX task_next_at ON task USING btree (next_at);
COMMENT ON TABLE task IS 'What is still to be done with an object, one row for each. No personal data.';
COMMENT ON COLUMN task.heavy IS 'It takes long, so that others are not to wait behind it.';
COMMENT ON COLUMN task.next_at IS 'When somebody may take it. Who has taken it moves this on while they live, so that it is taken again when they die.';
COMMENT ON COLUMN task.worker IS 'The run that has it; null while nobody has.';
COMMENT ON COLUMN task.scanned IS 'The scanner has found nothing in it.';

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
COMMENT ON TABLE upload IS 'Objects that may be in the bucket and are not of a row of media, avatar or variant: written before an object is stored, deleted when its row is inserted, and written again when what it is of is replaced or gone. What is left over is swept. No personal data.';

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

CREATE TABLE variant (
	object_id text COLLATE "C" NOT NULL,
	name text COLLATE "C" NOT NULL,
	stored text COLLATE "C" NOT NULL,
	content_type text NOT NULL,
	size bigint NOT NULL,
	sha256 text NOT NULL,
	width integer NOT NULL DEFAULT 0,
	height integer NOT NULL DEFAULT 0,
	page integer NOT NULL DEFAULT 0,
	words text NOT NULL DEFAULT ''::text,
	CONSTRAINT variant_pkey PRIMARY KEY (object_id, name)
);
COMMENT ON TABLE variant IS 'What was made of an object for showing it: sizes of a picture, segments of a video, pages of slides. The content is in the bucket as media/<stored>. Course material.';
COMMENT ON COLUMN variant.stored IS 'The id of the object, the run that made it, and the name: what is at it never changes.';
COMMENT ON COLUMN variant.words IS 'The text of a page, for finding it.';
