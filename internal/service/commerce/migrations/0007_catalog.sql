-- +goose Up

-- What courses cost in further currencies, beside the base price in product.
CREATE TABLE product_price (
	course_id text COLLATE "C" NOT NULL,
	currency text COLLATE "C" NOT NULL,
	amount bigint NOT NULL,
	CONSTRAINT product_price_pkey PRIMARY KEY (course_id, currency),
	CONSTRAINT product_price_product FOREIGN KEY (course_id) REFERENCES product (course_id),
	CONSTRAINT product_price_amount CHECK (amount > 0)
);
COMMENT ON TABLE product_price IS 'Prices of courses in further currencies. Who changes them locks the product. No personal data.';

CREATE TABLE seat_price (
	course_id text COLLATE "C" NOT NULL,
	currency text COLLATE "C" NOT NULL,
	from_quantity integer NOT NULL,
	amount bigint NOT NULL,
	CONSTRAINT seat_price_pkey PRIMARY KEY (course_id, currency, from_quantity),
	CONSTRAINT seat_price_product FOREIGN KEY (course_id) REFERENCES product (course_id),
	CONSTRAINT seat_price_from CHECK (from_quantity BETWEEN 1 AND 5000),
	CONSTRAINT seat_price_amount CHECK (amount > 0)
);
COMMENT ON TABLE seat_price IS 'What a seat of a course costs, by how many are bought. Who changes them locks the product. No personal data.';

CREATE TABLE course_place (
	course_id text COLLATE "C" NOT NULL,
	places integer NOT NULL,
	taken bigint NOT NULL,
	CONSTRAINT course_place_pkey PRIMARY KEY (course_id),
	CONSTRAINT course_place_product FOREIGN KEY (course_id) REFERENCES product (course_id),
	CONSTRAINT course_place_places CHECK (places BETWEEN 1 AND 1000000),
	CONSTRAINT course_place_taken CHECK (taken >= 0)
);
COMMENT ON TABLE course_place IS 'Courses of which a number can be sold. No personal data.';
COMMENT ON COLUMN course_place.taken IS 'The quantities of the live order lines of the course, counted under the lock of this row by who holds the product for share.';

CREATE TABLE reduction (
	id text COLLATE "C" NOT NULL,
	course_id text COLLATE "C" NOT NULL,
	starts_at timestamptz NOT NULL,
	ends_at timestamptz NOT NULL,
	currencies text[] NOT NULL,
	amounts bigint[] NOT NULL,
	created_by text COLLATE "C" NOT NULL,
	created_at timestamptz NOT NULL,
	CONSTRAINT reduction_pkey PRIMARY KEY (id),
	CONSTRAINT reduction_product FOREIGN KEY (course_id) REFERENCES product (course_id),
	CONSTRAINT reduction_window CHECK (ends_at >= starts_at),
	CONSTRAINT reduction_prices CHECK (cardinality(currencies) = cardinality(amounts) AND cardinality(currencies) > 0)
);
CREATE INDEX reduction_course ON reduction (course_id, starts_at DESC, id DESC);
COMMENT ON TABLE reduction IS 'Times in which courses cost less. No two of a course overlap: who adds one locks the product. Personal data of who made it: their id.';

CREATE TABLE bundle (
	id text COLLATE "C" NOT NULL,
	owner_id text COLLATE "C" NOT NULL,
	title text NOT NULL,
	description text NOT NULL,
	course_ids text[] NOT NULL,
	currencies text[] NOT NULL,
	amounts bigint[] NOT NULL,
	state text NOT NULL,
	revision bigint NOT NULL DEFAULT 1,
	created_at timestamptz NOT NULL,
	CONSTRAINT bundle_pkey PRIMARY KEY (id),
	CONSTRAINT bundle_state CHECK (state IN ('draft', 'published', 'withdrawn')),
	CONSTRAINT bundle_courses CHECK (cardinality(course_ids) BETWEEN 2 AND 20),
	CONSTRAINT bundle_prices CHECK (cardinality(currencies) = cardinality(amounts) AND cardinality(currencies) > 0)
);
CREATE INDEX bundle_owner ON bundle (owner_id, created_at DESC, id DESC);
CREATE INDEX bundle_list ON bundle (created_at DESC, id DESC) WHERE state = 'published';
CREATE INDEX bundle_with_course ON bundle USING gin (course_ids) WHERE state = 'published';
COMMENT ON TABLE bundle IS 'Courses that are sold together. owner_id is personal data of the teacher, kept as long as orders name the bundle.';

CREATE TABLE coupon (
	id text COLLATE "C" NOT NULL,
	origin text NOT NULL,
	teacher_id text COLLATE "C" NOT NULL,
	name text NOT NULL,
	percent integer NOT NULL,
	currencies text[] NOT NULL,
	amounts bigint[] NOT NULL,
	minimum_currencies text[] NOT NULL,
	minimums bigint[] NOT NULL,
	starts_at timestamptz NOT NULL,
	ends_at timestamptz,
	max_uses integer NOT NULL,
	max_uses_each integer NOT NULL,
	first_order_only boolean NOT NULL,
	course_ids text[] NOT NULL,
	bundle_ids text[] NOT NULL,
	for_seats boolean NOT NULL,
	uses integer NOT NULL DEFAULT 0,
	codes integer NOT NULL DEFAULT 0,
	ended_at timestamptz,
	created_by text COLLATE "C" NOT NULL,
	created_at timestamptz NOT NULL,
	CONSTRAINT coupon_pkey PRIMARY KEY (id),
	CONSTRAINT coupon_origin CHECK (origin = 'platform' OR origin = 'teacher' AND teacher_id <> ''),
	CONSTRAINT coupon_percent CHECK (percent BETWEEN 0 AND 100 AND (percent > 0) = (cardinality(amounts) = 0)),
	CONSTRAINT coupon_amounts CHECK (cardinality(currencies) = cardinality(amounts)),
	CONSTRAINT coupon_minimums CHECK (cardinality(minimum_currencies) = cardinality(minimums)),
	CONSTRAINT coupon_uses CHECK (uses >= 0 AND (max_uses = 0 OR uses <= max_uses))
);
CREATE INDEX coupon_of_teacher ON coupon (teacher_id, created_at DESC, id DESC) WHERE origin = 'teacher';
CREATE INDEX coupon_of_platform ON coupon (created_at DESC, id DESC) WHERE origin = 'platform';
COMMENT ON TABLE coupon IS 'Coupons. Personal data of the teacher and of who made it: their ids. Kept as long as orders name the coupon.';
COMMENT ON COLUMN coupon.teacher_id IS 'Whose courses it is for; empty for everybody''s.';
COMMENT ON COLUMN coupon.uses IS 'Its uses that are live, counted under the lock of this row.';

CREATE TABLE coupon_code (
	code text COLLATE "C" NOT NULL,
	coupon_id text COLLATE "C" NOT NULL,
	max_uses integer NOT NULL,
	uses integer NOT NULL DEFAULT 0,
	CONSTRAINT coupon_code_pkey PRIMARY KEY (code),
	CONSTRAINT coupon_code_coupon FOREIGN KEY (coupon_id) REFERENCES coupon (id),
	CONSTRAINT coupon_code_uses CHECK (uses >= 0 AND (max_uses = 0 OR uses <= max_uses))
);
CREATE INDEX coupon_code_list ON coupon_code (coupon_id, code);
COMMENT ON TABLE coupon_code IS 'Codes of coupons, in capitals. No personal data.';

CREATE TABLE coupon_use (
	order_id text COLLATE "C" NOT NULL,
	coupon_id text COLLATE "C" NOT NULL,
	code text COLLATE "C" NOT NULL,
	buyer_id text COLLATE "C" NOT NULL,
	live boolean NOT NULL DEFAULT true,
	CONSTRAINT coupon_use_pkey PRIMARY KEY (order_id),
	CONSTRAINT coupon_use_order FOREIGN KEY (order_id) REFERENCES orders (id),
	CONSTRAINT coupon_use_code FOREIGN KEY (code) REFERENCES coupon_code (code)
);
CREATE INDEX coupon_use_buyer ON coupon_use (coupon_id, buyer_id) WHERE live;
COMMENT ON TABLE coupon_use IS 'Which orders use which coupon. buyer_id is personal data of the buyer, kept as the order is.';
COMMENT ON COLUMN coupon_use.live IS 'False once the order was cancelled or expired.';

CREATE TABLE quote (
	id text COLLATE "C" NOT NULL,
	buyer_id text COLLATE "C" NOT NULL,
	currency text NOT NULL,
	total bigint NOT NULL,
	coupon_id text COLLATE "C" NOT NULL,
	code text COLLATE "C" NOT NULL,
	lines jsonb NOT NULL,
	created_at timestamptz NOT NULL,
	expires_at timestamptz NOT NULL,
	order_id text COLLATE "C" NOT NULL DEFAULT '',
	CONSTRAINT quote_pkey PRIMARY KEY (id),
	CONSTRAINT quote_total CHECK (total >= 0)
);
CREATE INDEX quote_expiry ON quote (expires_at);
COMMENT ON TABLE quote IS 'What carts cost, for a while. Personal data of the buyer: what they mean to buy, and sealed what they write to who gets a gift. Deleted a day after they expire.';

CREATE TABLE cart (
	account_id text COLLATE "C" NOT NULL,
	items jsonb NOT NULL,
	currency text NOT NULL,
	revision bigint NOT NULL,
	updated_at timestamptz NOT NULL,
	CONSTRAINT cart_pkey PRIMARY KEY (account_id)
);
COMMENT ON TABLE cart IS 'Carts. Personal data of the account: what they mean to buy, and sealed what they write to who gets a gift. Kept until they empty it.';

-- An order may cost nothing, and what it has of a quote is in its lines.
ALTER TABLE orders
	DROP CONSTRAINT orders_total,
	ADD CONSTRAINT orders_total CHECK (total >= 0),
	ADD COLUMN coupon_id text COLLATE "C" NOT NULL DEFAULT '';
COMMENT ON COLUMN orders.coupon_id IS 'The coupon that it uses; empty for none.';

ALTER TABLE order_line
	DROP CONSTRAINT order_line_amount,
	ADD CONSTRAINT order_line_amount CHECK (amount >= 0),
	ADD COLUMN kind text NOT NULL DEFAULT 'course',
	ADD COLUMN quantity integer NOT NULL DEFAULT 1,
	ADD COLUMN list_amount bigint,
	ADD COLUMN discount bigint NOT NULL DEFAULT 0,
	ADD COLUMN coupon_discount bigint NOT NULL DEFAULT 0,
	ADD COLUMN coupon_origin text NOT NULL DEFAULT '',
	ADD COLUMN bundle_id text COLLATE "C" NOT NULL DEFAULT '',
	ADD CONSTRAINT order_line_kind CHECK (kind IN ('course', 'seats', 'gift')),
	ADD CONSTRAINT order_line_quantity CHECK (quantity BETWEEN 1 AND 5000 AND (quantity = 1 OR kind = 'seats')),
	ADD CONSTRAINT order_line_discount CHECK (coupon_discount >= 0 AND discount >= coupon_discount),
	ADD CONSTRAINT order_line_list CHECK (amount = coalesce(list_amount, amount) - discount),
	ADD CONSTRAINT order_line_origin CHECK (coupon_origin IN ('', 'teacher', 'platform'));
COMMENT ON COLUMN order_line.list_amount IS 'What it would cost without any reduction; null for lines from before there were reductions, which is the amount.';
COMMENT ON COLUMN order_line.discount IS 'How much less it is in all: reduction of the course or share of the bundle, and coupon.';
COMMENT ON COLUMN order_line.coupon_discount IS 'What of the discount is the coupon''s.';
COMMENT ON COLUMN order_line.coupon_origin IS 'Who gives what the coupon takes: the teacher or the platform; empty without one.';

-- One live line for a buyer and a course, of what is for the buyer.
DROP INDEX order_line_live;
CREATE UNIQUE INDEX order_line_live ON order_line (buyer_id, course_id) WHERE live AND kind = 'course';
CREATE INDEX order_line_places ON order_line (course_id) INCLUDE (quantity) WHERE live;

CREATE TABLE gift (
	line_id text COLLATE "C" NOT NULL,
	order_id text COLLATE "C" NOT NULL,
	buyer_id text COLLATE "C" NOT NULL,
	course_id text COLLATE "C" NOT NULL,
	from_name bytea,
	note bytea,
	code_hash bytea,
	code bytea,
	bought_at timestamptz,
	redeemed_by text COLLATE "C",
	redeemed_at timestamptz,
	CONSTRAINT gift_pkey PRIMARY KEY (line_id),
	CONSTRAINT gift_line FOREIGN KEY (line_id) REFERENCES order_line (id),
	CONSTRAINT gift_code UNIQUE (code_hash),
	CONSTRAINT gift_bought CHECK ((code_hash IS NULL) = (code IS NULL) AND (code_hash IS NULL) = (bought_at IS NULL)),
	CONSTRAINT gift_redeemed CHECK ((redeemed_by IS NULL) = (redeemed_at IS NULL) AND (redeemed_by IS NULL OR code_hash IS NOT NULL))
);
CREATE INDEX gift_of_buyer ON gift (buyer_id, bought_at DESC, line_id DESC) WHERE bought_at IS NOT NULL;
COMMENT ON TABLE gift IS 'Lines of orders that are gifts. Personal data of the buyer: what they gave and, sealed, what they wrote; of who took it: their id. Kept as the order is.';
COMMENT ON COLUMN gift.code_hash IS 'A hash of the code, from the payment on.';
COMMENT ON COLUMN gift.code IS 'Sealed with the key of the buyer, as are from_name and note.';

CREATE TABLE referral (
	account_id text COLLATE "C" NOT NULL,
	code text COLLATE "C" NOT NULL,
	created_at timestamptz NOT NULL,
	CONSTRAINT referral_pkey PRIMARY KEY (account_id),
	CONSTRAINT referral_code UNIQUE (code)
);
COMMENT ON TABLE referral IS 'Codes in links of accounts, by which orders come. Personal data of the account: its id. Kept while the account is.';

-- What way a line came, and whose link it was.
ALTER TABLE order_line
	ADD COLUMN channel text NOT NULL DEFAULT 'marketplace',
	ADD COLUMN referrer_id text COLLATE "C" NOT NULL DEFAULT '',
	ADD CONSTRAINT order_line_channel CHECK (channel IN ('marketplace', 'teacher_link', 'affiliate') AND (channel = 'marketplace') = (referrer_id = ''));
COMMENT ON COLUMN order_line.referrer_id IS 'Whose link it was; empty for nobody''s. Personal data of the account.';

ALTER TABLE revenue_rule
	ADD COLUMN channel text NOT NULL DEFAULT '',
	ADD COLUMN coupon_origin text NOT NULL DEFAULT '',
	ADD CONSTRAINT revenue_rule_channel CHECK (channel IN ('', 'marketplace', 'teacher_link', 'affiliate')),
	ADD CONSTRAINT revenue_rule_origin CHECK (coupon_origin IN ('', 'teacher', 'platform'));
COMMENT ON COLUMN revenue_rule.channel IS 'What way orders come that it is for; empty for any.';
COMMENT ON COLUMN revenue_rule.coupon_origin IS 'Whose coupon lines have that it is for; empty for any, and for none.';
