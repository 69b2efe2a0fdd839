-- +goose Up
-- What can be bought: a copy of the published courses with their prices.
CREATE TABLE product (
	course_id text COLLATE "C" PRIMARY KEY,
	-- Of courses, by event; null until the first publishing is heard.
	sequence bigint,
	on_sale boolean NOT NULL DEFAULT false,
	seller_id text COLLATE "C",
	title text NOT NULL DEFAULT '',
	-- Our own; null until a price is set.
	amount bigint CONSTRAINT product_amount CHECK (amount >= 0),
	currency text CONSTRAINT product_currency CHECK (currency ~ '^[A-Z]{3}$'),
	revision bigint NOT NULL DEFAULT 0,
	priced_at timestamptz,
	CONSTRAINT product_price CHECK ((amount IS NULL) = (currency IS NULL) AND (amount IS NULL) = (priced_at IS NULL))
);
COMMENT ON TABLE product IS 'Published courses and their prices. seller_id is personal data of the teacher, kept while the course is.';

-- An order of courses by one buyer in one currency.
CREATE TABLE orders (
	id text COLLATE "C" PRIMARY KEY,
	buyer_id text COLLATE "C" NOT NULL,
	state text NOT NULL CONSTRAINT orders_state CHECK (state IN ('awaiting_payment', 'paid', 'fulfilled', 'cancelled', 'expired')),
	total bigint NOT NULL CONSTRAINT orders_total CHECK (total > 0),
	currency text NOT NULL,
	payment_id text COLLATE "C" NOT NULL CONSTRAINT orders_payment UNIQUE,
	payment_declined boolean NOT NULL DEFAULT false,
	created_at timestamptz NOT NULL,
	expires_at timestamptz NOT NULL,
	paid_at timestamptz,
	CONSTRAINT orders_paid CHECK ((state IN ('paid', 'fulfilled')) = (paid_at IS NOT NULL))
);
CREATE INDEX orders_buyer ON orders (buyer_id, created_at DESC, id DESC);
CREATE INDEX orders_expiry ON orders (expires_at) WHERE state = 'awaiting_payment';
COMMENT ON TABLE orders IS 'Orders. buyer_id is personal data of the buyer, kept for the time that tax law asks for.';

-- A course of an order at its price of that moment.
CREATE TABLE order_line (
	id text COLLATE "C" PRIMARY KEY,
	order_id text COLLATE "C" NOT NULL REFERENCES orders (id),
	position int NOT NULL,
	buyer_id text COLLATE "C" NOT NULL,
	course_id text COLLATE "C" NOT NULL,
	seller_id text COLLATE "C" NOT NULL,
	title text NOT NULL,
	amount bigint NOT NULL CONSTRAINT order_line_amount CHECK (amount > 0),
	-- True while the line may give access: one such line for a buyer and a course.
	live boolean NOT NULL DEFAULT true,
	paid_at timestamptz,
	fulfilled boolean NOT NULL DEFAULT false
);
CREATE INDEX order_line_order ON order_line (order_id, position);
CREATE UNIQUE INDEX order_line_live ON order_line (buyer_id, course_id) WHERE live;
CREATE INDEX order_line_sales ON order_line (course_id, paid_at DESC, id DESC) WHERE paid_at IS NOT NULL;
COMMENT ON TABLE order_line IS 'Lines of orders. buyer_id and seller_id are personal data, kept as the order is.';

-- What happened to an order, in order; never changed.
CREATE TABLE order_transition (
	order_id text COLLATE "C" NOT NULL REFERENCES orders (id),
	happened_at timestamptz NOT NULL,
	state text NOT NULL,
	cause text NOT NULL,
	PRIMARY KEY (order_id, state)
);
COMMENT ON TABLE order_transition IS 'The history of orders; no personal data of its own.';
