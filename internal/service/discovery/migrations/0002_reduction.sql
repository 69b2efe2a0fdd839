-- +goose Up

ALTER TABLE listing
	ADD COLUMN further_currencies text[] NOT NULL DEFAULT '{}',
	ADD COLUMN further_amounts bigint[] NOT NULL DEFAULT '{}',
	ADD CONSTRAINT listing_further CHECK (cardinality(further_currencies) = cardinality(further_amounts));
COMMENT ON COLUMN listing.further_currencies IS 'In which currencies it is sold besides; further_amounts is what it costs in each.';

CREATE TABLE reduction (
	course_id text COLLATE "C" NOT NULL,
	reduction_id text COLLATE "C" NOT NULL,
	starts_at timestamptz NOT NULL,
	ends_at timestamptz NOT NULL,
	currencies text[] NOT NULL,
	amounts bigint[] NOT NULL,
	CONSTRAINT reduction_pkey PRIMARY KEY (course_id, ends_at, reduction_id),
	CONSTRAINT reduction_listing FOREIGN KEY (course_id) REFERENCES listing (course_id) ON DELETE CASCADE,
	CONSTRAINT reduction_prices CHECK (cardinality(currencies) = cardinality(amounts))
);
COMMENT ON TABLE reduction IS 'When courses cost less, as commerce told it with the price; which of them holds is seen when it is read. Names no person.';
