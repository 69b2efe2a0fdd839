-- +goose Up

ALTER TABLE media
	ADD COLUMN purpose text COLLATE "C" NOT NULL DEFAULT 'library'
		CONSTRAINT media_purpose CHECK (purpose IN ('library', 'submission', 'feedback')),
	ADD COLUMN kept boolean NOT NULL DEFAULT true,
	ADD CONSTRAINT media_library CHECK (purpose = 'library' OR NOT public AND deleted_at IS NULL);
COMMENT ON TABLE media IS 'The files of courses, and those that students hand in or are given back, whose content is in the bucket as media/<id>. The name and the content are course material, or the student''s work; uploaded_by says which account brought them.';
COMMENT ON COLUMN media.purpose IS 'library: a file of the course. submission: to be handed in. feedback: to be given back. Only those of the library are listed, shown in lessons and copied.';
COMMENT ON COLUMN media.kept IS 'Whether something names a file that is not of the library. What nothing keeps is swept.';
CREATE INDEX media_submission ON media (course_id, uploaded_by, created_at DESC, id DESC) WHERE purpose <> 'library';
CREATE INDEX media_not_kept ON media (created_at) WHERE NOT kept;
