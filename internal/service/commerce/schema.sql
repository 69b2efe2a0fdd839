-- What the migrations make of the schema "commerce". Generated; do not edit:
-- bin/testservers -only postgres -- go test ./internal/app -run TestSchemaDumps -update

CREATE TABLE order_line (
	id text COLLATE "C" NOT NULL,
	order_id text COLLATE "C" NOT NULL,
	"position" integer NOT NULL,
	buyer_id text COLLATE "C" NOT NULL,
	course_id text COLLATE "C" NOT NULL,
	seller_id text COLLATE "C" NOT NULL,
	title text NOT NULL,
	amount bigint NOT NULL,
	live boolean NOT NULL DEFAULT true,
	paid_at timestamp with time zone,
	fulfilled boolean NOT NULL DEFAULT false,
	CONSTRAINT order_line_pkey PRIMARY KEY (id),
	CONSTRAINT order_line_order_id_fkey FOREIGN KEY (order_id) REFERENCES orders(id),
	CONSTRAINT order_line_amount CHECK ((amount > 0))
);
CREATE UNIQUE INDEX order_line_live ON order_line USING btree (buyer_id, course_id) WHERE live;
CREATE INDEX order_line_order ON order_line USING btree (order_id, "position");
CREATE INDEX order_line_sales ON order_line USING btree (course_id, paid_at DESC, id DESC) WHERE (paid_at IS NOT NULL);
COMMENT ON TABLE order_line IS 'Lines of orders. buyer_id and seller_id are personal data, kept as the order is.';

CREATE TABLE order_transition (
	order_id text COLLATE "C" NOT NULL,
	happened_at timestamp with time zone NOT NULL,
	state text NOT NULL,
	cause text NOT NULL,
	CONSTRAINT order_transition_pkey PRIMARY KEY (order_id, state),
	CONSTRAINT order_transition_order_id_fkey FOREIGN KEY (order_id) REFERENCES orders(id)
);
COMMENT ON TABLE order_transition IS 'The history of orders; no personal data of its own.';

CREATE TABLE orders (
	id text COLLATE "C" NOT NULL,
	buyer_id text COLLATE "C" NOT NULL,
	state text NOT NULL,
	total bigint NOT NULL,
	currency text NOT NULL,
	payment_id text COLLATE "C" NOT NULL,
	payment_declined boolean NOT NULL DEFAULT false,
	created_at timestamp with time zone NOT NULL,
	expires_at timestamp with time zone NOT NULL,
	paid_at timestamp with time zone,
	CONSTRAINT orders_pkey PRIMARY KEY (id),
	CONSTRAINT orders_payment UNIQUE (payment_id),
	CONSTRAINT orders_paid CHECK (((state = ANY (ARRAY['paid'::text, 'fulfilled'::text])) = (paid_at IS NOT NULL))),
	CONSTRAINT orders_state CHECK ((state = ANY (ARRAY['awaiting_payment'::text, 'paid'::text, 'fulfilled'::text, 'cancelled'::text, 'expired'::text]))),
	CONSTRAINT orders_total CHECK ((total > 0))
);
CREATE INDEX orders_buyer ON orders USING btree (buyer_id, created_at DESC, id DESC);
CREATE INDEX orders_expiry ON orders USING btree (expires_at) WHERE (state = 'awaiting_payment'::text);
COMMENT ON TABLE orders IS 'Orders. buyer_id is personal data of the buyer, kept for the time that tax law asks for.';

CREATE TABLE product (
	course_id text COLLATE "C" NOT NULL,
	sequence bigint,
	on_sale boolean NOT NULL DEFAULT false,
	seller_id text COLLATE "C",
	title text NOT NULL DEFAULT ''::text,
	amount bigint,
	currency text,
	revision bigint NOT NULL DEFAULT 0,
	priced_at timestamp with time zone,
	CONSTRAINT product_pkey PRIMARY KEY (course_id),
	CONSTRAINT product_amount CHECK ((amount >= 0)),
	CONSTRAINT product_currency CHECK ((currency ~ '^[A-Z]{3}$'::text)),
	CONSTRAINT product_price CHECK ((((amount IS NULL) = (currency IS NULL)) AND ((amount IS NULL) = (priced_at IS NULL))))
);
COMMENT ON TABLE product IS 'Published courses and their prices. seller_id is personal data of the teacher, kept while the course is.';
