-- +goose Up

CREATE TABLE task (
	object_id text COLLATE "C" CONSTRAINT task_pkey PRIMARY KEY,
	heavy boolean NOT NULL DEFAULT false,
	tries integer NOT NULL DEFAULT 0,
	next_at timestamptz NOT NULL DEFAULT now(),
	worker text,
	scanned boolean NOT NULL DEFAULT false
);
COMMENT ON TABLE task IS 'What is still to be done with an object, one row for each. No personal data.';
COMMENT ON COLUMN task.heavy IS 'It takes long, so that others are not to wait behind it.';
COMMENT ON COLUMN task.next_at IS 'When somebody may take it. Who has taken it moves this on while they live, so that it is taken again when they die.';
COMMENT ON COLUMN task.worker IS 'The run that has it; null while nobody has.';
COMMENT ON COLUMN task.scanned IS 'The scanner has found nothing in it.';
CREATE INDEX task_next_at ON task (next_at);

CREATE TABLE asset (
	object_id text COLLATE "C" CONSTRAINT asset_pkey PRIMARY KEY,
	kind text NOT NULL CONSTRAINT asset_kind CHECK (kind IN ('image', 'video', 'audio', 'slides', 'file')),
	width integer NOT NULL DEFAULT 0,
	height integer NOT NULL DEFAULT 0,
	duration_ms bigint NOT NULL DEFAULT 0
);
COMMENT ON TABLE asset IS 'What was found out of an object by processing it. No personal data.';

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
	words text NOT NULL DEFAULT '',
	CONSTRAINT variant_pkey PRIMARY KEY (object_id, name)
);
COMMENT ON TABLE variant IS 'What was made of an object for showing it: sizes of a picture, segments of a video, pages of slides. The content is in the bucket as media/<stored>. Course material.';
COMMENT ON COLUMN variant.stored IS 'The id of the object, the run that made it, and the name: what is at it never changes.';
COMMENT ON COLUMN variant.words IS 'The text of a page, for finding it.';

CREATE TABLE caption (
	media_id text COLLATE "C" NOT NULL CONSTRAINT caption_media REFERENCES media ON DELETE CASCADE,
	language text COLLATE "C" NOT NULL,
	label text NOT NULL,
	main boolean NOT NULL DEFAULT false,
	content text NOT NULL,
	revision bigint NOT NULL DEFAULT 1,
	created_at timestamptz NOT NULL,
	CONSTRAINT caption_pkey PRIMARY KEY (media_id, language)
);
COMMENT ON TABLE caption IS 'Captions of videos as WebVTT, one for each language. Course material.';
COMMENT ON COLUMN caption.main IS 'Shown where a reader has chosen none.';
CREATE UNIQUE INDEX caption_main ON caption (media_id) WHERE main;

COMMENT ON TABLE upload IS 'Objects that may be in the bucket and are not of a row of media, avatar or variant: written before an object is stored, deleted when its row is inserted, and written again when what it is of is replaced or gone. What is left over is swept. No personal data.';

-- Of what was there before, variants are made as well. It stays as it is meanwhile.
INSERT INTO task (object_id, heavy)
SELECT id, content_type LIKE 'video/%' FROM media
WHERE content_type LIKE 'image/%' OR content_type LIKE 'video/%' OR content_type LIKE 'audio/%' OR content_type = 'application/ogg'
	OR content_type IN ('application/pdf', 'application/vnd.openxmlformats-officedocument.presentationml.presentation', 'application/vnd.oasis.opendocument.presentation');
