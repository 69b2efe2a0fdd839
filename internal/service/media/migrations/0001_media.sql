-- +goose Up

CREATE TABLE media (
	id text COLLATE "C" CONSTRAINT media_pkey PRIMARY KEY,
	course_id text COLLATE "C" NOT NULL,
	filename text NOT NULL,
	content_type text NOT NULL,
	size bigint NOT NULL CONSTRAINT media_size_positive CHECK (size > 0),
	sha256 text NOT NULL,
	public boolean NOT NULL DEFAULT false,
	uploaded_by text COLLATE "C" NOT NULL,
	created_at timestamptz NOT NULL
);
COMMENT ON TABLE media IS 'The files of courses whose content is in the bucket as media/<id>. The name and the content are course material; uploaded_by says which account brought them.';
COMMENT ON COLUMN media.public IS 'Anybody may fetch it: it is the cover of a published course.';
CREATE INDEX media_course ON media (course_id, created_at DESC, id DESC);

CREATE TABLE upload (
	id text COLLATE "C" CONSTRAINT upload_pkey PRIMARY KEY,
	started_at timestamptz NOT NULL,
	abandoned boolean NOT NULL DEFAULT false
);
COMMENT ON TABLE upload IS 'Objects that may be in the bucket and are not of a row of media: written before an object is stored, deleted when its media row is inserted. What is left over is swept. No personal data.';
CREATE INDEX upload_started_at ON upload (started_at);

CREATE TABLE course_cover (
	course_id text COLLATE "C" CONSTRAINT course_cover_pkey PRIMARY KEY,
	sequence bigint NOT NULL,
	media_id text COLLATE "C"
);
COMMENT ON TABLE course_cover IS 'The cover of each course as last heard, null when it has none or is not published, with the sequence of the event that said so. No personal data.';
