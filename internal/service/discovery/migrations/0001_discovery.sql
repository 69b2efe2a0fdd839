-- +goose Up

CREATE TABLE listing (
	course_id text COLLATE "C" NOT NULL,
	sequence bigint NOT NULL DEFAULT 0,
	published boolean NOT NULL DEFAULT false,
	published_at timestamptz,
	teacher_id text COLLATE "C" NOT NULL DEFAULT '',
	title text NOT NULL DEFAULT '',
	subtitle text NOT NULL DEFAULT '',
	description text NOT NULL DEFAULT '',
	description_html text NOT NULL DEFAULT '',
	language text NOT NULL DEFAULT '',
	level text NOT NULL DEFAULT '',
	category text NOT NULL DEFAULT '',
	tags text[] NOT NULL DEFAULT '{}',
	tag_words text NOT NULL DEFAULT '',
	alike tsvector NOT NULL DEFAULT '',
	outcomes text[] NOT NULL DEFAULT '{}',
	cover_media_id text NOT NULL DEFAULT '',
	modules jsonb NOT NULL DEFAULT '[]',
	lesson_count int NOT NULL DEFAULT 0,
	price_version bigint NOT NULL DEFAULT 0,
	price_amount bigint,
	price_currency char(3),
	enrollment_count bigint NOT NULL DEFAULT 0,
	language_key text NOT NULL GENERATED ALWAYS AS (lower(language)) STORED,
	free boolean GENERATED ALWAYS AS (price_amount = 0) STORED,
	words tsvector NOT NULL GENERATED ALWAYS AS (
		setweight(to_tsvector('simple', title), 'A')
		|| setweight(to_tsvector('simple', subtitle || ' ' || tag_words), 'B')
		|| setweight(to_tsvector('simple', description), 'C')) STORED,
	CONSTRAINT listing_pkey PRIMARY KEY (course_id),
	CONSTRAINT listing_published_at CHECK (NOT published OR published_at IS NOT NULL),
	CONSTRAINT listing_price CHECK ((price_amount IS NULL) = (price_currency IS NULL) AND price_amount >= 0)
) WITH (fillfactor = 85);
COMMENT ON TABLE listing IS 'What the marketplace knows of each course, as courses, commerce and access told it, in whatever order they did. In the marketplace is what is published and has a price. Personal data: whose course it is, which is public.';
COMMENT ON COLUMN listing.sequence IS 'Of the newest publishing or taking out; an event with a lower one came late.';
COMMENT ON COLUMN listing.tag_words IS 'The tags as text, because what a generated column calls must not depend on settings.';
COMMENT ON COLUMN listing.language_key IS 'For filters; a column, as is free, because the planner knows how common the values of columns are.';
COMMENT ON COLUMN listing.alike IS 'The words of title and tags, and each with any one of its letters left out, to forgive typing mistakes.';

-- One index for each way to list from the newest on. None holds what an
-- enrollment changes.
CREATE INDEX listing_newest ON listing (published_at DESC, course_id DESC)
	WHERE published AND price_amount IS NOT NULL;
CREATE INDEX listing_category ON listing (category, published_at DESC, course_id DESC)
	WHERE published AND price_amount IS NOT NULL;
CREATE INDEX listing_language ON listing (language_key, published_at DESC, course_id DESC)
	WHERE published AND price_amount IS NOT NULL;
CREATE INDEX listing_level ON listing (level, published_at DESC, course_id DESC)
	WHERE published AND price_amount IS NOT NULL;
CREATE INDEX listing_free ON listing (free, published_at DESC, course_id DESC)
	WHERE published AND price_amount IS NOT NULL;

-- Without the list of pending entries, which every search would read: courses
-- are published less often than they are searched for.
CREATE INDEX listing_words ON listing USING gin (words) WITH (fastupdate = off)
	WHERE published AND price_amount IS NOT NULL;
CREATE INDEX listing_alike ON listing USING gin (alike) WITH (fastupdate = off)
	WHERE published AND price_amount IS NOT NULL;

CREATE TABLE teacher (
	account_id text COLLATE "C" NOT NULL,
	name text NOT NULL,
	version bigint NOT NULL,
	CONSTRAINT teacher_pkey PRIMARY KEY (account_id)
);
COMMENT ON TABLE teacher IS 'Names of those who may turn out to teach, as the service identity told them. Personal data of the account. Kept as long as the account.';

CREATE TABLE counted_enrollment (
	enrollment_id text COLLATE "C" NOT NULL,
	CONSTRAINT counted_enrollment_pkey PRIMARY KEY (enrollment_id)
);
COMMENT ON TABLE counted_enrollment IS 'Enrollments that listing.enrollment_count has counted, so that none is counted twice. Names no person.';
