-- What the migrations make of the schema "discovery". Generated; do not edit:
-- bin/testservers -only postgres -- go test ./internal/app -run TestSchemaDumps -update

CREATE TABLE counted_enrollment (
	enrollment_id text COLLATE "C" NOT NULL,
	CONSTRAINT counted_enrollment_pkey PRIMARY KEY (enrollment_id)
);
COMMENT ON TABLE counted_enrollment IS 'Enrollments that listing.enrollment_count has counted, so that none is counted twice. Names no person.';

CREATE TABLE listing (
	course_id text COLLATE "C" NOT NULL,
	sequence bigint NOT NULL DEFAULT 0,
	published boolean NOT NULL DEFAULT false,
	published_at timestamp with time zone,
	teacher_id text COLLATE "C" NOT NULL DEFAULT ''::text,
	title text NOT NULL DEFAULT ''::text,
	subtitle text NOT NULL DEFAULT ''::text,
	description text NOT NULL DEFAULT ''::text,
	description_html text NOT NULL DEFAULT ''::text,
	language text NOT NULL DEFAULT ''::text,
	level text NOT NULL DEFAULT ''::text,
	category text NOT NULL DEFAULT ''::text,
	tags text[] NOT NULL DEFAULT '{}'::text[],
	tag_words text NOT NULL DEFAULT ''::text,
	alike tsvector NOT NULL DEFAULT ''::tsvector,
	outcomes text[] NOT NULL DEFAULT '{}'::text[],
	cover_media_id text NOT NULL DEFAULT ''::text,
	modules jsonb NOT NULL DEFAULT '[]'::jsonb,
	lesson_count integer NOT NULL DEFAULT 0,
	price_version bigint NOT NULL DEFAULT 0,
	price_amount bigint,
	price_currency character(3),
	enrollment_count bigint NOT NULL DEFAULT 0,
	language_key text NOT NULL GENERATED ALWAYS AS (lower(language)) STORED,
	free boolean GENERATED ALWAYS AS ((price_amount = 0)) STORED,
	words tsvector NOT NULL GENERATED ALWAYS AS (((setweight(to_tsvector('simple'::regconfig, title), 'A'::"char") || setweight(to_tsvector('simple'::regconfig, ((subtitle || ' '::text) || tag_words)), 'B'::"char")) || setweight(to_tsvector('simple'::regconfig, description), 'C'::"char"))) STORED,
	further_currencies text[] NOT NULL DEFAULT '{}'::text[],
	further_amounts bigint[] NOT NULL DEFAULT '{}'::bigint[],
	CONSTRAINT listing_pkey PRIMARY KEY (course_id),
	CONSTRAINT listing_further CHECK ((cardinality(further_currencies) = cardinality(further_amounts))),
	CONSTRAINT listing_price CHECK ((((price_amount IS NULL) = (price_currency IS NULL)) AND (price_amount >= 0))),
	CONSTRAINT listing_published_at CHECK (((NOT published) OR (published_at IS NOT NULL)))
) WITH (fillfactor=85);
CREATE INDEX listing_alike ON listing USING gin (alike) WITH (fastupdate=off) WHERE (published AND (price_amount IS NOT NULL));
CREATE INDEX listing_category ON listing USING btree (category, published_at DESC, course_id DESC) WHERE (published AND (price_amount IS NOT NULL));
CREATE INDEX listing_free ON listing USING btree (free, published_at DESC, course_id DESC) WHERE (published AND (price_amount IS NOT NULL));
CREATE INDEX listing_language ON listing USING btree (language_key, published_at DESC, course_id DESC) WHERE (published AND (price_amount IS NOT NULL));
CREATE INDEX listing_level ON listing USING btree (level, published_at DESC, course_id DESC) WHERE (published AND (price_amount IS NOT NULL));
CREATE INDEX listing_newest ON listing USING btree (published_at DESC, course_id DESC) WHERE (published AND (price_amount IS NOT NULL));
CREATE INDEX listing_words ON listing USING gin (words) WITH (fastupdate=off) WHERE (published AND (price_amount IS NOT NULL));
COMMENT ON TABLE listing IS 'What the marketplace knows of each course, as courses, commerce and access told it, in whatever order they did. In the marketplace is what is published and has a price. Personal data: whose course it is, which is public.';
COMMENT ON COLUMN listing.sequence IS 'Of the newest publishing or taking out; an event with a lower one came late.';
COMMENT ON COLUMN listing.tag_words IS 'The tags as text, because what a generated column calls must not depend on settings.';
COMMENT ON COLUMN listing.alike IS 'The words of title and tags, and each with any one of its letters left out, to forgive typing mistakes.';
COMMENT ON COLUMN listing.language_key IS 'For filters; a column, as is free, because the planner knows how common the values of columns are.';
COMMENT ON COLUMN listing.further_currencies IS 'In which currencies it is sold besides; further_amounts is what it costs in each.';

CREATE TABLE reduction (
	course_id text COLLATE "C" NOT NULL,
	reduction_id text COLLATE "C" NOT NULL,
	starts_at timestamp with time zone NOT NULL,
	ends_at timestamp with time zone NOT NULL,
	currencies text[] NOT NULL,
	amounts bigint[] NOT NULL,
	CONSTRAINT reduction_pkey PRIMARY KEY (course_id, ends_at, reduction_id),
	CONSTRAINT reduction_listing FOREIGN KEY (course_id) REFERENCES listing(course_id) ON DELETE CASCADE,
	CONSTRAINT reduction_prices CHECK ((cardinality(currencies) = cardinality(amounts)))
);
COMMENT ON TABLE reduction IS 'When courses cost less, as commerce told it with the price; which of them holds is seen when it is read. Names no person.';

CREATE TABLE teacher (
	account_id text COLLATE "C" NOT NULL,
	name text NOT NULL,
	version bigint NOT NULL,
	CONSTRAINT teacher_pkey PRIMARY KEY (account_id)
);
COMMENT ON TABLE teacher IS 'Names of those who may turn out to teach, as the service identity told them. Personal data of the account. Kept as long as the account.';
