-- +goose Up

ALTER TABLE course
	ADD COLUMN time_zone text NOT NULL DEFAULT 'UTC',
	ADD COLUMN audience text[] NOT NULL DEFAULT '{}',
	ADD COLUMN promo_video_media_id text COLLATE "C" NOT NULL DEFAULT '',
	ADD COLUMN faq jsonb NOT NULL DEFAULT '[]',
	ADD COLUMN release jsonb NOT NULL DEFAULT '{}',
	ADD COLUMN grading jsonb NOT NULL DEFAULT '{}';
COMMENT ON COLUMN course.release IS 'When the course is open, a Rule as its contract has it in JSON; empty for always.';
COMMENT ON COLUMN course.grading IS 'How it is graded, a GradingPolicy as its contract has it in JSON; empty when it is not.';

ALTER TABLE publication
	ADD COLUMN time_zone text NOT NULL DEFAULT 'UTC',
	ADD COLUMN audience text[] NOT NULL DEFAULT '{}',
	ADD COLUMN promo_video_media_id text COLLATE "C" NOT NULL DEFAULT '',
	ADD COLUMN faq jsonb NOT NULL DEFAULT '[]',
	ADD COLUMN release jsonb NOT NULL DEFAULT '{}',
	ADD COLUMN grading jsonb NOT NULL DEFAULT '{}';

-- Modules are in modules, and what is no module is in one.
ALTER TABLE item
	DROP CONSTRAINT item_kind,
	DROP CONSTRAINT item_parent,
	ADD CONSTRAINT item_kind CHECK (kind IN ('module', 'lesson', 'quiz', 'assignment')),
	ADD CONSTRAINT item_parent CHECK (kind = 'module' OR parent_id <> '');
COMMENT ON TABLE item IS 'The draft: modules, and lessons, quizzes and assignments in modules, with the content they have now. No personal data.';
COMMENT ON COLUMN item.parent_id IS 'The module that it is in; empty at the top.';

ALTER TABLE item_version
	ADD COLUMN settings jsonb NOT NULL DEFAULT '{}',
	ADD COLUMN activity_ref text NOT NULL DEFAULT '',
	ADD COLUMN playable_media_ids text[] NOT NULL DEFAULT '{}',
	ADD COLUMN number int NOT NULL DEFAULT 0,
	ADD COLUMN hash bytea;
COMMENT ON TABLE item_version IS 'Every content that an item ever had, each once. Rows are never changed. author_id says which account wrote it first.';
COMMENT ON COLUMN item_version.settings IS 'ItemSettings as their contract has them in JSON, without what is usual.';
COMMENT ON COLUMN item_version.activity_ref IS 'The quiz or assignment that it stands for, as assessment names it.';
COMMENT ON COLUMN item_version.playable_media_ids IS 'The video and audio files in body.';
COMMENT ON COLUMN item_version.number IS 'Counts the contents of an item from 1; 0 in rows of programs of before.';
COMMENT ON COLUMN item_version.hash IS 'SHA-256 of the content in its canonical form (hash.go); absent in rows of programs of before, and where an older row has the same content.';

-- The canonical form (RFC 8785) of what blocks consist of: PostgreSQL escapes
-- text as it demands, and our keys are ASCII.
-- +goose StatementBegin
CREATE FUNCTION pg_temp.canonical(j jsonb) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	CASE jsonb_typeof(j)
	WHEN 'object' THEN
		RETURN '{' || coalesce((SELECT string_agg(to_jsonb(key)::text || ':' || pg_temp.canonical(value), ',' ORDER BY key COLLATE "C") FROM jsonb_each(j)), '') || '}';
	WHEN 'array' THEN
		RETURN '[' || coalesce((SELECT string_agg(pg_temp.canonical(value), ',' ORDER BY place) FROM jsonb_array_elements(j) WITH ORDINALITY AS e (value, place)), '') || ']';
	ELSE
		RETURN j::text;
	END CASE;
END $$;
-- +goose StatementEnd

UPDATE item_version v SET number = n.number, hash = sha256(convert_to(
	'{"activity_ref":"","blocks":' || pg_temp.canonical(v.body) || ',"kind":"' || split_part(v.item_id, '_', 1)
		|| '","preview":' || v.preview::text || ',"settings":{},"title":' || to_jsonb(v.title)::text || '}', 'UTF8'))
FROM (SELECT id, row_number() OVER (PARTITION BY item_id ORDER BY id) AS number FROM item_version) n WHERE n.id = v.id;

DROP FUNCTION pg_temp.canonical(jsonb);

-- Where a content came again, the first row of it is pointed to.
CREATE TEMPORARY TABLE again ON COMMIT DROP AS
	SELECT id, first FROM (
		SELECT id, min(id) OVER (PARTITION BY item_id, hash) AS first FROM item_version) v WHERE id <> first;
UPDATE item i SET version_id = a.first FROM again a WHERE i.version_id = a.id;
UPDATE publication_item i SET version_id = a.first FROM again a WHERE i.version_id = a.id;
UPDATE item_version v SET hash = NULL FROM again a WHERE v.id = a.id;

CREATE UNIQUE INDEX item_version_hash ON item_version (item_id, hash);
CREATE UNIQUE INDEX item_version_number ON item_version (item_id, number) WHERE number > 0;

CREATE TABLE rendering (
	version_id bigint CONSTRAINT rendering_pkey PRIMARY KEY CONSTRAINT rendering_version REFERENCES item_version,
	renderer int NOT NULL,
	html jsonb NOT NULL
);
COMMENT ON TABLE rendering IS 'The HTML of the blocks of a content, in their order, made once; made again when the program makes other HTML than that of the number. No personal data.';
