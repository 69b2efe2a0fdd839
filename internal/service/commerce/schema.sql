-- What the migrations make of the schema "commerce". Generated; do not edit:
-- bin/testservers -only postgres -- go test ./internal/app -run TestSchemaDumps -update

CREATE TABLE billing_details (
	account_id text COLLATE "C" NOT NULL,
	sealed bytea NOT NULL,
	revision bigint NOT NULL,
	updated_at timestamp with time zone NOT NULL,
	CONSTRAINT billing_details_pkey PRIMARY KEY (account_id)
);
COMMENT ON TABLE billing_details IS 'What buyers want to have on their invoices. Personal data, sealed with the key of the person.';

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
	created_at timestamp with time zone NOT NULL,
	CONSTRAINT bundle_pkey PRIMARY KEY (id),
	CONSTRAINT bundle_courses CHECK (((cardinality(course_ids) >= 2) AND (cardinality(course_ids) <= 20))),
	CONSTRAINT bundle_prices CHECK (((cardinality(currencies) = cardinality(amounts)) AND (cardinality(currencies) > 0))),
	CONSTRAINT bundle_state CHECK ((state = ANY (ARRAY['draft'::text, 'published'::text, 'withdrawn'::text])))
);
CREATE INDEX bundle_list ON bundle USING btree (created_at DESC, id DESC) WHERE (state = 'published'::text);
CREATE INDEX bundle_owner ON bundle USING btree (owner_id, created_at DESC, id DESC);
CREATE INDEX bundle_with_course ON bundle USING gin (course_ids) WHERE (state = 'published'::text);
COMMENT ON TABLE bundle IS 'Courses that are sold together. owner_id is personal data of the teacher, kept as long as orders name the bundle.';

CREATE TABLE cart (
	account_id text COLLATE "C" NOT NULL,
	items jsonb NOT NULL,
	currency text NOT NULL,
	revision bigint NOT NULL,
	updated_at timestamp with time zone NOT NULL,
	CONSTRAINT cart_pkey PRIMARY KEY (account_id)
);
COMMENT ON TABLE cart IS 'Carts. Personal data of the account: what they mean to buy, and sealed what they write to who gets a gift. Kept until they empty it.';

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
	starts_at timestamp with time zone NOT NULL,
	ends_at timestamp with time zone,
	max_uses integer NOT NULL,
	max_uses_each integer NOT NULL,
	first_order_only boolean NOT NULL,
	course_ids text[] NOT NULL,
	bundle_ids text[] NOT NULL,
	for_seats boolean NOT NULL,
	uses integer NOT NULL DEFAULT 0,
	codes integer NOT NULL DEFAULT 0,
	ended_at timestamp with time zone,
	created_by text COLLATE "C" NOT NULL,
	created_at timestamp with time zone NOT NULL,
	CONSTRAINT coupon_pkey PRIMARY KEY (id),
	CONSTRAINT coupon_amounts CHECK ((cardinality(currencies) = cardinality(amounts))),
	CONSTRAINT coupon_minimums CHECK ((cardinality(minimum_currencies) = cardinality(minimums))),
	CONSTRAINT coupon_origin CHECK (((origin = 'platform'::text) OR ((origin = 'teacher'::text) AND (teacher_id <> ''::text)))),
	CONSTRAINT coupon_percent CHECK ((((percent >= 0) AND (percent <= 100)) AND ((percent > 0) = (cardinality(amounts) = 0)))),
	CONSTRAINT coupon_uses CHECK (((uses >= 0) AND ((max_uses = 0) OR (uses <= max_uses))))
);
CREATE INDEX coupon_of_platform ON coupon USING btree (created_at DESC, id DESC) WHERE (origin = 'platform'::text);
CREATE INDEX coupon_of_teacher ON coupon USING btree (teacher_id, created_at DESC, id DESC) WHERE (origin = 'teacher'::text);
COMMENT ON TABLE coupon IS 'Coupons. Personal data of the teacher and of who made it: their ids. Kept as long as orders name the coupon.';
COMMENT ON COLUMN coupon.teacher_id IS 'Whose courses it is for; empty for everybody''s.';
COMMENT ON COLUMN coupon.uses IS 'Its uses that are live, counted under the lock of this row.';

CREATE TABLE coupon_code (
	code text COLLATE "C" NOT NULL,
	coupon_id text COLLATE "C" NOT NULL,
	max_uses integer NOT NULL,
	uses integer NOT NULL DEFAULT 0,
	CONSTRAINT coupon_code_pkey PRIMARY KEY (code),
	CONSTRAINT coupon_code_coupon FOREIGN KEY (coupon_id) REFERENCES coupon(id),
	CONSTRAINT coupon_code_uses CHECK (((uses >= 0) AND ((max_uses = 0) OR (uses <= max_uses))))
);
CREATE INDEX coupon_code_list ON coupon_code USING btree (coupon_id, code);
COMMENT ON TABLE coupon_code IS 'Codes of coupons, in capitals. No personal data.';

CREATE TABLE coupon_use (
	order_id text COLLATE "C" NOT NULL,
	coupon_id text COLLATE "C" NOT NULL,
	code text COLLATE "C" NOT NULL,
	buyer_id text COLLATE "C" NOT NULL,
	live boolean NOT NULL DEFAULT true,
	CONSTRAINT coupon_use_pkey PRIMARY KEY (order_id),
	CONSTRAINT coupon_use_code FOREIGN KEY (code) REFERENCES coupon_code(code),
	CONSTRAINT coupon_use_order FOREIGN KEY (order_id) REFERENCES orders(id)
);
CREATE INDEX coupon_use_buyer ON coupon_use USING btree (coupon_id, buyer_id) WHERE live;
COMMENT ON TABLE coupon_use IS 'Which orders use which coupon. buyer_id is personal data of the buyer, kept as the order is.';
COMMENT ON COLUMN coupon_use.live IS 'False once the order was cancelled or expired.';

CREATE TABLE course_place (
	course_id text COLLATE "C" NOT NULL,
	places integer NOT NULL,
	taken bigint NOT NULL,
	CONSTRAINT course_place_pkey PRIMARY KEY (course_id),
	CONSTRAINT course_place_product FOREIGN KEY (course_id) REFERENCES product(course_id),
	CONSTRAINT course_place_places CHECK (((places >= 1) AND (places <= 1000000))),
	CONSTRAINT course_place_taken CHECK ((taken >= 0))
);
COMMENT ON TABLE course_place IS 'Courses of which a number can be sold. No personal data.';
COMMENT ON COLUMN course_place.taken IS 'The quantities of the live order lines of the course, counted under the lock of this row by who holds the product for share.';

CREATE TABLE development_object (
	id text COLLATE "C" NOT NULL,
	kind text NOT NULL,
	payment_id text COLLATE "C",
	account text COLLATE "C",
	amount bigint NOT NULL DEFAULT 0,
	currency text NOT NULL DEFAULT ''::text,
	state text NOT NULL,
	reversed bigint NOT NULL DEFAULT 0,
	CONSTRAINT development_object_pkey PRIMARY KEY (id),
	CONSTRAINT development_object_payment FOREIGN KEY (payment_id) REFERENCES development_payment(id),
	CONSTRAINT development_object_kind CHECK ((kind = ANY (ARRAY['refund'::text, 'dispute'::text, 'transfer'::text, 'reversal'::text, 'account'::text]))),
	CONSTRAINT development_object_reversed CHECK (((reversed >= 0) AND (reversed <= amount)))
);
CREATE UNIQUE INDEX development_object_dispute ON development_object USING btree (payment_id) WHERE (kind = 'dispute'::text);
COMMENT ON TABLE development_object IS 'Refunds, disputes, transfers, their reversals and teachers'' accounts at the development provider. Personal data of teachers: their ids in account.';

CREATE TABLE development_payment (
	id text COLLATE "C" NOT NULL,
	amount bigint NOT NULL,
	currency text NOT NULL,
	state text NOT NULL,
	refunded bigint NOT NULL DEFAULT 0,
	dispute text NOT NULL DEFAULT ''::text,
	subscription_id text COLLATE "C",
	period_start timestamp with time zone,
	period_end timestamp with time zone,
	CONSTRAINT development_payment_pkey PRIMARY KEY (id),
	CONSTRAINT development_payment_dispute CHECK ((dispute = ANY (ARRAY[''::text, 'open'::text, 'won'::text, 'lost'::text]))),
	CONSTRAINT development_payment_refunded CHECK (((refunded >= 0) AND (refunded <= amount))),
	CONSTRAINT development_payment_state CHECK ((state = ANY (ARRAY['open'::text, 'processing'::text, 'declined'::text, 'succeeded'::text, 'closed'::text])))
);
CREATE INDEX development_payment_of_subscription ON development_payment USING btree (subscription_id, period_start) WHERE (subscription_id IS NOT NULL);
COMMENT ON TABLE development_payment IS 'Payments at the development provider. No personal data.';

CREATE TABLE development_subscription (
	id text COLLATE "C" NOT NULL,
	first_payment text COLLATE "C" NOT NULL,
	amount bigint NOT NULL,
	currency text NOT NULL,
	every text NOT NULL,
	every_seconds integer NOT NULL DEFAULT 0,
	state text NOT NULL,
	period_start timestamp with time zone,
	period_end timestamp with time zone,
	cancel_at_period_end boolean NOT NULL DEFAULT false,
	fails boolean NOT NULL DEFAULT false,
	attempts integer NOT NULL DEFAULT 0,
	next_at timestamp with time zone,
	ended_at timestamp with time zone,
	CONSTRAINT development_subscription_pkey PRIMARY KEY (id),
	CONSTRAINT development_subscription_first UNIQUE (first_payment),
	CONSTRAINT development_subscription_payment FOREIGN KEY (first_payment) REFERENCES development_payment(id),
	CONSTRAINT development_subscription_state CHECK ((state = ANY (ARRAY['incomplete'::text, 'active'::text, 'past_due'::text, 'ended'::text])))
);
CREATE INDEX development_subscription_due ON development_subscription USING btree (next_at) WHERE (next_at IS NOT NULL);
COMMENT ON TABLE development_subscription IS 'Subscriptions at the development provider. No personal data.';
COMMENT ON COLUMN development_subscription.next_at IS 'When something happens next: the period ends, or a payment is tried again.';

CREATE TABLE development_transaction (
	id bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
	kind text NOT NULL,
	ref text COLLATE "C" NOT NULL,
	amount bigint NOT NULL,
	fee bigint NOT NULL DEFAULT 0,
	currency text NOT NULL,
	at timestamp with time zone NOT NULL,
	CONSTRAINT development_transaction_pkey PRIMARY KEY (id),
	CONSTRAINT development_transaction_once UNIQUE (kind, ref)
);
COMMENT ON TABLE development_transaction IS 'What moved the balance at the development provider. No personal data.';

CREATE TABLE dispute (
	id text COLLATE "C" NOT NULL,
	order_id text COLLATE "C" NOT NULL,
	payment_id text COLLATE "C" NOT NULL,
	ref text COLLATE "C" NOT NULL,
	state text NOT NULL,
	amount bigint NOT NULL,
	currency text NOT NULL,
	fee bigint NOT NULL,
	reason text NOT NULL,
	due_by timestamp with time zone,
	opened_at timestamp with time zone NOT NULL,
	settled_at timestamp with time zone,
	credited boolean NOT NULL DEFAULT false,
	fee_back bigint NOT NULL DEFAULT 0,
	CONSTRAINT dispute_pkey PRIMARY KEY (id),
	CONSTRAINT dispute_ref UNIQUE (payment_id, ref),
	CONSTRAINT dispute_order FOREIGN KEY (order_id) REFERENCES orders(id),
	CONSTRAINT dispute_payment FOREIGN KEY (payment_id) REFERENCES payment(id),
	CONSTRAINT dispute_amount CHECK (((amount > 0) AND (fee >= 0))),
	CONSTRAINT dispute_fee_back CHECK ((fee_back >= 0)),
	CONSTRAINT dispute_settled CHECK (((state = 'open'::text) = (settled_at IS NULL))),
	CONSTRAINT dispute_state CHECK ((state = ANY (ARRAY['open'::text, 'won'::text, 'lost'::text])))
);
CREATE INDEX dispute_by_ref ON dispute USING btree (ref);
CREATE INDEX dispute_list ON dispute USING btree (opened_at DESC, id DESC);
CREATE INDEX dispute_of_order ON dispute USING btree (order_id);
CREATE INDEX dispute_to_credit ON dispute USING btree (id) WHERE ((state = 'lost'::text) AND (NOT credited));
COMMENT ON TABLE dispute IS 'Payments that the buyer''s bank wants back. No personal data of its own.';
COMMENT ON COLUMN dispute.fee IS 'What the provider takes for it, whatever comes of it.';
COMMENT ON COLUMN dispute.due_by IS 'Until when evidence can be given at the provider.';
COMMENT ON COLUMN dispute.credited IS 'Whether there is a credit note for one that was lost.';
COMMENT ON COLUMN dispute.fee_back IS 'What the provider gave back of the fee.';

CREATE TABLE dispute_line (
	dispute_id text COLLATE "C" NOT NULL,
	line_id text COLLATE "C" NOT NULL,
	amount bigint NOT NULL,
	tax bigint NOT NULL,
	CONSTRAINT dispute_line_pkey PRIMARY KEY (dispute_id, line_id),
	CONSTRAINT dispute_line_dispute FOREIGN KEY (dispute_id) REFERENCES dispute(id),
	CONSTRAINT dispute_line_line FOREIGN KEY (line_id) REFERENCES order_line(id)
);
COMMENT ON TABLE dispute_line IS 'What of disputes that were lost is of which line. No personal data of its own.';

CREATE TABLE gift (
	line_id text COLLATE "C" NOT NULL,
	order_id text COLLATE "C" NOT NULL,
	buyer_id text COLLATE "C" NOT NULL,
	course_id text COLLATE "C" NOT NULL,
	from_name bytea,
	note bytea,
	code_hash bytea,
	code bytea,
	bought_at timestamp with time zone,
	redeemed_by text COLLATE "C",
	redeemed_at timestamp with time zone,
	CONSTRAINT gift_pkey PRIMARY KEY (line_id),
	CONSTRAINT gift_code UNIQUE (code_hash),
	CONSTRAINT gift_line FOREIGN KEY (line_id) REFERENCES order_line(id),
	CONSTRAINT gift_bought CHECK ((((code_hash IS NULL) = (code IS NULL)) AND ((code_hash IS NULL) = (bought_at IS NULL)))),
	CONSTRAINT gift_redeemed CHECK ((((redeemed_by IS NULL) = (redeemed_at IS NULL)) AND ((redeemed_by IS NULL) OR (code_hash IS NOT NULL))))
);
CREATE INDEX gift_of_buyer ON gift USING btree (buyer_id, bought_at DESC, line_id DESC) WHERE (bought_at IS NOT NULL);
CREATE INDEX gift_redeemed_by ON gift USING btree (redeemed_by, course_id) WHERE (redeemed_by IS NOT NULL);
COMMENT ON TABLE gift IS 'Lines of orders that are gifts. Personal data of the buyer: what they gave and, sealed, what they wrote; of who took it: their id. Kept as the order is.';
COMMENT ON COLUMN gift.code_hash IS 'A hash of the code, from the payment on.';
COMMENT ON COLUMN gift.code IS 'Sealed with the key of the buyer, as are from_name and note.';

CREATE TABLE invoice (
	id text COLLATE "C" NOT NULL,
	series text COLLATE "C" NOT NULL,
	"position" bigint NOT NULL,
	kind text NOT NULL,
	order_id text COLLATE "C" NOT NULL,
	refund_id text COLLATE "C",
	corrects text COLLATE "C",
	buyer_id text COLLATE "C" NOT NULL,
	country text COLLATE "C" NOT NULL DEFAULT ''::text,
	issued_at timestamp with time zone NOT NULL,
	currency text NOT NULL,
	total bigint NOT NULL,
	tax bigint NOT NULL,
	lines jsonb NOT NULL,
	seller jsonb NOT NULL,
	buyer bytea,
	CONSTRAINT invoice_pkey PRIMARY KEY (id),
	CONSTRAINT invoice_number UNIQUE (series, "position"),
	CONSTRAINT invoice_corrects FOREIGN KEY (corrects) REFERENCES invoice(id),
	CONSTRAINT invoice_order FOREIGN KEY (order_id) REFERENCES orders(id),
	CONSTRAINT invoice_credit_note CHECK (((kind = 'credit_note'::text) = (refund_id IS NOT NULL))),
	CONSTRAINT invoice_kind CHECK ((kind = ANY (ARRAY['invoice'::text, 'credit_note'::text]))),
	CONSTRAINT invoice_tax CHECK (((kind = 'credit_note'::text) OR ((tax >= 0) AND (tax <= total))))
);
CREATE INDEX invoice_buyer ON invoice USING btree (buyer_id, issued_at DESC, id DESC);
CREATE INDEX invoice_issued ON invoice USING btree (issued_at, id);
CREATE UNIQUE INDEX invoice_once ON invoice USING btree (order_id) WHERE (kind = 'invoice'::text);
CREATE UNIQUE INDEX invoice_refund_once ON invoice USING btree (refund_id) WHERE (kind = 'credit_note'::text);
CREATE OR REPLACE FUNCTION invoice_only_grows()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
	RAISE EXCEPTION '% only grows', TG_TABLE_NAME USING ERRCODE = 'restrict_violation', CONSTRAINT = 'invoice_only_grows';
END $function$;
CREATE TRIGGER invoice_only_grows BEFORE DELETE OR UPDATE OR TRUNCATE ON invoice FOR EACH STATEMENT EXECUTE FUNCTION invoice_only_grows();
COMMENT ON TABLE invoice IS 'Invoices and credit notes as they were issued. Rows are added, never changed or deleted. Personal data of the buyer: the id, the country and, sealed with a key that outlives the account, name and address. Kept as long as the law asks for books.';

CREATE TABLE invoice_series (
	series text COLLATE "C" NOT NULL,
	last bigint NOT NULL,
	CONSTRAINT invoice_series_pkey PRIMARY KEY (series)
);
COMMENT ON TABLE invoice_series IS 'The last number of each series of invoices. No personal data.';

CREATE TABLE ledger_account (
	account text COLLATE "C" NOT NULL,
	currency text COLLATE "C" NOT NULL,
	CONSTRAINT ledger_account_pkey PRIMARY KEY (account, currency),
	CONSTRAINT ledger_account_currency CHECK ((currency ~ '^[A-Z]{3}$'::text)),
	CONSTRAINT ledger_account_known CHECK ((account ~ '^(provider|disputed|processing|platform|tax|buyers|bank|(held|teacher|payable):account_[0-9a-hjkmnp-tv-z]{26})$'::text))
);
COMMENT ON TABLE ledger_account IS 'The accounts of the ledger that were ever posted to. Personal data of teachers: their ids in the names of accounts. Kept as long as the law asks for books.';

CREATE TABLE ledger_checkpoint (
	account text COLLATE "C" NOT NULL,
	currency text COLLATE "C" NOT NULL,
	entry_id bigint NOT NULL,
	balance bigint NOT NULL,
	CONSTRAINT ledger_checkpoint_pkey PRIMARY KEY (account, currency, entry_id),
	CONSTRAINT ledger_checkpoint_account FOREIGN KEY (account, currency) REFERENCES ledger_account(account, currency)
);
COMMENT ON TABLE ledger_checkpoint IS 'What accounts had with all entries up to one, so that a balance is read from few postings. Follows from the postings. Personal data of teachers: their ids in the names of accounts.';

CREATE TABLE ledger_entry (
	id bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
	key text COLLATE "C" NOT NULL,
	kind text COLLATE "C" NOT NULL,
	order_id text COLLATE "C",
	booked_at timestamp with time zone NOT NULL,
	CONSTRAINT ledger_entry_pkey PRIMARY KEY (id),
	CONSTRAINT ledger_entry_once UNIQUE (key),
	CONSTRAINT ledger_entry_order FOREIGN KEY (order_id) REFERENCES orders(id)
);
CREATE INDEX ledger_entry_of_order ON ledger_entry USING btree (order_id, id) WHERE (order_id IS NOT NULL);
CREATE OR REPLACE FUNCTION ledger_not_empty()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
	IF NOT EXISTS (SELECT FROM ledger_posting WHERE entry_id = NEW.id) THEN
		RAISE EXCEPTION 'entry % has no postings', NEW.id USING ERRCODE = 'check_violation', CONSTRAINT = 'ledger_not_empty';
	END IF;
	RETURN NULL;
END $function$;
CREATE CONSTRAINT TRIGGER ledger_entry_not_empty AFTER INSERT ON ledger_entry DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION ledger_not_empty();
CREATE OR REPLACE FUNCTION ledger_only_grows()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
	RAISE EXCEPTION '% only grows', TG_TABLE_NAME USING ERRCODE = 'restrict_violation', CONSTRAINT = 'ledger_only_grows';
END $function$;
CREATE TRIGGER ledger_entry_only_grows BEFORE DELETE OR UPDATE OR TRUNCATE ON ledger_entry FOR EACH STATEMENT EXECUTE FUNCTION ledger_only_grows();
COMMENT ON TABLE ledger_entry IS 'What was booked. Rows are added, never changed or deleted. No personal data of its own.';
COMMENT ON COLUMN ledger_entry.key IS 'Names what is booked: it is booked once.';

CREATE TABLE ledger_head (
	one boolean NOT NULL DEFAULT true,
	entry_id bigint NOT NULL,
	CONSTRAINT ledger_head_pkey PRIMARY KEY (one),
	CONSTRAINT ledger_head_one CHECK (one)
);
COMMENT ON TABLE ledger_head IS 'Up to which entry checkpoints were made. No personal data.';

CREATE TABLE ledger_posting (
	entry_id bigint NOT NULL,
	"position" smallint NOT NULL,
	account text COLLATE "C" NOT NULL,
	currency text COLLATE "C" NOT NULL,
	amount bigint NOT NULL,
	line_id text COLLATE "C",
	CONSTRAINT ledger_posting_pkey PRIMARY KEY (entry_id, "position"),
	CONSTRAINT ledger_posting_account FOREIGN KEY (account, currency) REFERENCES ledger_account(account, currency),
	CONSTRAINT ledger_posting_entry FOREIGN KEY (entry_id) REFERENCES ledger_entry(id),
	CONSTRAINT ledger_posting_line FOREIGN KEY (line_id) REFERENCES order_line(id),
	CONSTRAINT ledger_posting_amount CHECK ((amount <> 0))
);
CREATE INDEX ledger_posting_by_account ON ledger_posting USING btree (account, entry_id, "position") INCLUDE (currency, amount);
CREATE OR REPLACE FUNCTION ledger_balanced()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
DECLARE
	bad bigint;
BEGIN
	SELECT entry_id INTO bad FROM added GROUP BY entry_id, currency HAVING sum(amount) <> 0 LIMIT 1;
	IF FOUND THEN
		RAISE EXCEPTION 'entry % does not sum to zero', bad USING ERRCODE = 'check_violation', CONSTRAINT = 'ledger_balanced';
	END IF;
	SELECT e.id INTO bad FROM ledger_entry e WHERE e.id IN (SELECT entry_id FROM added) AND e.xmin <> pg_current_xact_id()::xid LIMIT 1;
	IF FOUND THEN
		RAISE EXCEPTION 'entry % is booked', bad USING ERRCODE = 'restrict_violation', CONSTRAINT = 'ledger_only_grows';
	END IF;
	RETURN NULL;
END $function$;
CREATE TRIGGER ledger_posting_balanced AFTER INSERT ON ledger_posting REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION ledger_balanced();
CREATE OR REPLACE FUNCTION ledger_only_grows()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
	RAISE EXCEPTION '% only grows', TG_TABLE_NAME USING ERRCODE = 'restrict_violation', CONSTRAINT = 'ledger_only_grows';
END $function$;
CREATE TRIGGER ledger_posting_only_grows BEFORE DELETE OR UPDATE OR TRUNCATE ON ledger_posting FOR EACH STATEMENT EXECUTE FUNCTION ledger_only_grows();
COMMENT ON TABLE ledger_posting IS 'The amounts of entries, in minor units: debits above zero, credits below. Those of an entry sum to zero in each currency. Rows are added, never changed or deleted. Personal data of teachers: their ids in the names of accounts.';

CREATE TABLE mismatch (
	id text COLLATE "C" NOT NULL,
	kind text NOT NULL,
	object_id text COLLATE "C" NOT NULL,
	detail text NOT NULL,
	cure text NOT NULL,
	state text NOT NULL,
	found_at timestamp with time zone NOT NULL,
	seen_at timestamp with time zone NOT NULL,
	ended_at timestamp with time zone,
	ended_by text COLLATE "C" NOT NULL DEFAULT ''::text,
	reason text NOT NULL DEFAULT ''::text,
	CONSTRAINT mismatch_pkey PRIMARY KEY (id),
	CONSTRAINT mismatch_ended CHECK (((state = 'open'::text) = (ended_at IS NULL))),
	CONSTRAINT mismatch_state CHECK ((state = ANY (ARRAY['open'::text, 'healed'::text, 'gone'::text, 'dismissed'::text])))
);
CREATE INDEX mismatch_newest ON mismatch USING btree (found_at DESC, id DESC);
CREATE UNIQUE INDEX mismatch_open ON mismatch USING btree (kind, object_id) WHERE (state = ANY (ARRAY['open'::text, 'dismissed'::text]));
COMMENT ON TABLE mismatch IS 'What did not agree. Personal data: the id of who dismissed it; the objects are orders, lines and payments.';

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
	platform_share integer,
	rule_id text COLLATE "C",
	held_until timestamp with time zone,
	released boolean NOT NULL DEFAULT false,
	tax bigint NOT NULL DEFAULT 0,
	kind text NOT NULL DEFAULT 'course'::text,
	quantity integer NOT NULL DEFAULT 1,
	list_amount bigint,
	discount bigint NOT NULL DEFAULT 0,
	coupon_discount bigint NOT NULL DEFAULT 0,
	coupon_origin text NOT NULL DEFAULT ''::text,
	bundle_id text COLLATE "C" NOT NULL DEFAULT ''::text,
	channel text NOT NULL DEFAULT 'marketplace'::text,
	referrer_id text COLLATE "C" NOT NULL DEFAULT ''::text,
	refunded bigint NOT NULL DEFAULT 0,
	reserved bigint NOT NULL DEFAULT 0,
	access_ended boolean NOT NULL DEFAULT false,
	frozen boolean NOT NULL DEFAULT false,
	held_again integer NOT NULL DEFAULT 0,
	bundle_title text NOT NULL DEFAULT ''::text,
	CONSTRAINT order_line_pkey PRIMARY KEY (id),
	CONSTRAINT order_line_order_id_fkey FOREIGN KEY (order_id) REFERENCES orders(id),
	CONSTRAINT order_line_rule FOREIGN KEY (rule_id) REFERENCES revenue_rule(id),
	CONSTRAINT order_line_amount CHECK ((amount >= 0)),
	CONSTRAINT order_line_channel CHECK (((channel = ANY (ARRAY['marketplace'::text, 'teacher_link'::text, 'affiliate'::text])) AND ((channel = 'marketplace'::text) = (referrer_id = ''::text)))),
	CONSTRAINT order_line_discount CHECK (((coupon_discount >= 0) AND (discount >= coupon_discount))),
	CONSTRAINT order_line_kind CHECK ((kind = ANY (ARRAY['course'::text, 'seats'::text, 'gift'::text, 'subscription'::text]))),
	CONSTRAINT order_line_list CHECK ((amount = (COALESCE(list_amount, amount) - discount))),
	CONSTRAINT order_line_origin CHECK ((coupon_origin = ANY (ARRAY[''::text, 'teacher'::text, 'platform'::text]))),
	CONSTRAINT order_line_platform_share CHECK (((platform_share >= 0) AND (platform_share <= 10000))),
	CONSTRAINT order_line_quantity CHECK ((((quantity >= 1) AND (quantity <= 5000)) AND ((quantity = 1) OR (kind = 'seats'::text)))),
	CONSTRAINT order_line_refunded CHECK (((refunded >= 0) AND (refunded <= amount))),
	CONSTRAINT order_line_reserved CHECK ((reserved >= 0)),
	CONSTRAINT order_line_tax CHECK (((tax >= 0) AND (tax <= amount)))
);
CREATE INDEX order_line_held ON order_line USING btree (held_until) WHERE ((NOT released) AND (held_until IS NOT NULL));
CREATE UNIQUE INDEX order_line_live ON order_line USING btree (buyer_id, course_id) WHERE (live AND (kind = 'course'::text));
CREATE INDEX order_line_order ON order_line USING btree (order_id, "position");
CREATE INDEX order_line_places ON order_line USING btree (course_id) INCLUDE (quantity) WHERE live;
CREATE INDEX order_line_sales ON order_line USING btree (course_id, paid_at DESC, id DESC) WHERE (paid_at IS NOT NULL);
CREATE INDEX order_line_subscription ON order_line USING btree (id) WHERE (kind = 'subscription'::text);
CREATE INDEX order_line_unfulfilled ON order_line USING btree (paid_at, id) WHERE ((paid_at IS NOT NULL) AND (NOT fulfilled));
COMMENT ON TABLE order_line IS 'Lines of orders. buyer_id and seller_id are personal data, kept as the order is.';
COMMENT ON COLUMN order_line.platform_share IS 'In hundredths of a percent, as it stood when it was ordered; null for lines from before there were shares.';
COMMENT ON COLUMN order_line.rule_id IS 'The rule that says so; null for what holds without one.';
COMMENT ON COLUMN order_line.held_until IS 'When the teachers'' shares can be paid out; null until it is booked.';
COMMENT ON COLUMN order_line.tax IS 'What of the amount is tax, as the provider said when it was paid.';
COMMENT ON COLUMN order_line.list_amount IS 'What it would cost without any reduction; null for lines from before there were reductions, which is the amount.';
COMMENT ON COLUMN order_line.discount IS 'How much less it is in all: reduction of the course or share of the bundle, and coupon.';
COMMENT ON COLUMN order_line.coupon_discount IS 'What of the discount is the coupon''s.';
COMMENT ON COLUMN order_line.coupon_origin IS 'Who gives what the coupon takes: the teacher or the platform; empty without one.';
COMMENT ON COLUMN order_line.referrer_id IS 'Whose link it was; empty for nobody''s. Personal data of the account.';
COMMENT ON COLUMN order_line.refunded IS 'What of the amount was given back, or lost in a dispute.';
COMMENT ON COLUMN order_line.reserved IS 'What of the amount refunds on their way will give back.';
COMMENT ON COLUMN order_line.access_ended IS 'Whether what the line gave was ended by a refund or a dispute.';
COMMENT ON COLUMN order_line.frozen IS 'Whether its shares are held because the payment is disputed.';
COMMENT ON COLUMN order_line.held_again IS 'How often shares that were released were held again.';
COMMENT ON COLUMN order_line.bundle_title IS 'What the bundle was called when it was ordered.';

CREATE TABLE order_line_share (
	line_id text COLLATE "C" NOT NULL,
	"position" smallint NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	basis_points integer NOT NULL,
	CONSTRAINT order_line_share_pkey PRIMARY KEY (line_id, "position"),
	CONSTRAINT order_line_share_line FOREIGN KEY (line_id) REFERENCES order_line(id),
	CONSTRAINT order_line_share_points CHECK (((basis_points >= 1) AND (basis_points <= 10000)))
);
COMMENT ON TABLE order_line_share IS 'How teachers share what is left of a line, as it stood when it was ordered. Lines without rows are the seller''s alone. Personal data of the teachers: their ids. Kept as the order is.';

CREATE TABLE order_transition (
	order_id text COLLATE "C" NOT NULL,
	happened_at timestamp with time zone NOT NULL,
	state text NOT NULL,
	cause text NOT NULL,
	id bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
	CONSTRAINT order_transition_pkey PRIMARY KEY (order_id, id),
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
	booked boolean NOT NULL DEFAULT false,
	invoiced boolean NOT NULL DEFAULT false,
	coupon_id text COLLATE "C" NOT NULL DEFAULT ''::text,
	subscription_id text COLLATE "C",
	period_ref text COLLATE "C",
	period_start timestamp with time zone,
	period_end timestamp with time zone,
	access_until timestamp with time zone,
	CONSTRAINT orders_pkey PRIMARY KEY (id),
	CONSTRAINT orders_payment UNIQUE (payment_id),
	CONSTRAINT orders_subscription FOREIGN KEY (subscription_id) REFERENCES subscription(id),
	CONSTRAINT orders_paid CHECK (((state = ANY (ARRAY['paid'::text, 'fulfilled'::text, 'partly_refunded'::text, 'refunded'::text, 'disputed'::text])) = (paid_at IS NOT NULL))),
	CONSTRAINT orders_period CHECK (((num_nonnulls(period_start, period_end, access_until) = ANY (ARRAY[0, 3])) AND ((period_end IS NULL) OR ((period_end > period_start) AND (access_until > period_start) AND (subscription_id IS NOT NULL))))),
	CONSTRAINT orders_state CHECK ((state = ANY (ARRAY['awaiting_payment'::text, 'paid'::text, 'fulfilled'::text, 'partly_refunded'::text, 'refunded'::text, 'disputed'::text, 'cancelled'::text, 'expired'::text]))),
	CONSTRAINT orders_total CHECK ((total >= 0))
);
CREATE INDEX orders_buyer ON orders USING btree (buyer_id, created_at DESC, id DESC);
CREATE INDEX orders_expiry ON orders USING btree (expires_at) WHERE (state = 'awaiting_payment'::text);
CREATE INDEX orders_of_subscription ON orders USING btree (subscription_id, created_at, id) WHERE (subscription_id IS NOT NULL);
CREATE UNIQUE INDEX orders_period_once ON orders USING btree (subscription_id, period_ref) WHERE (period_ref IS NOT NULL);
CREATE INDEX orders_subscription_expiry ON orders USING btree (expires_at) WHERE ((state = 'awaiting_payment'::text) AND (subscription_id IS NOT NULL));
CREATE INDEX orders_to_book ON orders USING btree (id) WHERE ((paid_at IS NOT NULL) AND (NOT booked));
CREATE INDEX orders_to_invoice ON orders USING btree (paid_at, id) WHERE ((paid_at IS NOT NULL) AND (NOT invoiced));
COMMENT ON TABLE orders IS 'Orders. buyer_id is personal data of the buyer, kept for the time that tax law asks for.';
COMMENT ON COLUMN orders.booked IS 'Whether the sale is in the ledger.';
COMMENT ON COLUMN orders.invoiced IS 'Whether there is an invoice.';
COMMENT ON COLUMN orders.coupon_id IS 'The coupon that it uses; empty for none.';
COMMENT ON COLUMN orders.subscription_id IS 'The subscription of which it is a period; null for none.';
COMMENT ON COLUMN orders.period_ref IS 'What the provider calls what it asked to be paid for the period; null until that is known.';
COMMENT ON COLUMN orders.period_end IS 'Until when the period is; null until it is paid.';
COMMENT ON COLUMN orders.access_until IS 'Until when what the period bought gives access.';

CREATE TABLE payment (
	id text COLLATE "C" NOT NULL,
	order_id text COLLATE "C" NOT NULL,
	provider text NOT NULL,
	ref text COLLATE "C",
	url text,
	state text NOT NULL,
	declined boolean NOT NULL DEFAULT false,
	amount bigint NOT NULL,
	currency text NOT NULL,
	received bigint,
	fee bigint,
	surplus boolean NOT NULL DEFAULT false,
	created_at timestamp with time zone NOT NULL,
	updated_at timestamp with time zone NOT NULL,
	looked integer NOT NULL DEFAULT 0,
	next_look timestamp with time zone NOT NULL DEFAULT '-infinity'::timestamp with time zone,
	checked_at timestamp with time zone,
	CONSTRAINT payment_pkey PRIMARY KEY (id),
	CONSTRAINT payment_order UNIQUE (order_id),
	CONSTRAINT payment_ref UNIQUE (provider, ref),
	CONSTRAINT payment_order_known FOREIGN KEY (order_id) REFERENCES orders(id),
	CONSTRAINT payment_received CHECK (((state = 'succeeded'::text) = (received IS NOT NULL))),
	CONSTRAINT payment_state CHECK ((state = ANY (ARRAY['open'::text, 'processing'::text, 'succeeded'::text, 'closed'::text])))
);
CREATE INDEX payment_look ON payment USING btree (provider, next_look) WHERE ((ref IS NOT NULL) AND ((state = ANY (ARRAY['open'::text, 'processing'::text])) OR ((state = 'succeeded'::text) AND (fee IS NULL))));
CREATE INDEX payment_surplus ON payment USING btree (id) WHERE surplus;
COMMENT ON TABLE payment IS 'How orders are paid. No personal data of its own: what a provider knows of the buyer is not kept.';
COMMENT ON COLUMN payment.ref IS 'What the provider calls it; null until it has been told.';
COMMENT ON COLUMN payment.declined IS 'Whether a try to pay was declined; another may succeed.';
COMMENT ON COLUMN payment.received IS 'What was paid, in minor units.';
COMMENT ON COLUMN payment.fee IS 'What the provider kept of it; null while that is not known.';
COMMENT ON COLUMN payment.surplus IS 'Whether nothing is sold for it, since the order had ended or something else was paid than asked: it goes back.';
COMMENT ON COLUMN payment.looked IS 'How often the provider was asked how it stands.';
COMMENT ON COLUMN payment.next_look IS 'When it is asked next, while the payment is not over or its fee not known.';
COMMENT ON COLUMN payment.checked_at IS 'When its buyer last had it looked up; not again for some seconds.';

CREATE TABLE payout (
	id text COLLATE "C" NOT NULL,
	run_id text COLLATE "C" NOT NULL,
	teacher_id text COLLATE "C" NOT NULL,
	currency text COLLATE "C" NOT NULL,
	period text COLLATE "C" NOT NULL,
	state text NOT NULL DEFAULT 'on_its_way'::text,
	amount bigint NOT NULL,
	opening bigint NOT NULL,
	closing bigint NOT NULL,
	after_entry bigint NOT NULL,
	through_entry bigint NOT NULL,
	ref text COLLATE "C",
	problem text NOT NULL DEFAULT ''::text,
	created_at timestamp with time zone NOT NULL,
	paid_at timestamp with time zone,
	reversed bigint NOT NULL DEFAULT 0,
	reversing bigint NOT NULL DEFAULT 0,
	CONSTRAINT payout_pkey PRIMARY KEY (id),
	CONSTRAINT payout_after UNIQUE (teacher_id, currency, after_entry),
	CONSTRAINT payout_once UNIQUE (teacher_id, currency, period),
	CONSTRAINT payout_account FOREIGN KEY (teacher_id) REFERENCES payout_account(teacher_id),
	CONSTRAINT payout_run FOREIGN KEY (run_id) REFERENCES payout_run(id),
	CONSTRAINT payout_amount CHECK ((amount > 0)),
	CONSTRAINT payout_entries CHECK ((after_entry < through_entry)),
	CONSTRAINT payout_reversed CHECK (((reversed >= 0) AND (reversing >= 0) AND ((reversed + reversing) <= amount))),
	CONSTRAINT payout_state CHECK ((state = ANY (ARRAY['on_its_way'::text, 'paid'::text, 'failed'::text, 'reversing'::text, 'reversed'::text])))
);
CREATE INDEX payout_by_ref ON payout USING btree (ref) WHERE (ref IS NOT NULL);
CREATE INDEX payout_list ON payout USING btree (created_at DESC, id DESC);
CREATE INDEX payout_of_run ON payout USING btree (run_id, id);
CREATE INDEX payout_of_teacher ON payout USING btree (teacher_id, created_at DESC, id DESC);
CREATE INDEX payout_statement ON payout USING btree (teacher_id, currency, through_entry DESC);
COMMENT ON TABLE payout IS 'What teachers were paid, and which postings of the ledger it covers. Personal data of teachers: what they were paid. Kept as the books are.';
COMMENT ON COLUMN payout.opening IS 'What they had before the first posting of the statement.';
COMMENT ON COLUMN payout.closing IS 'What they have after the last, which is the payout.';
COMMENT ON COLUMN payout.after_entry IS 'The statement has the postings of the teacher''s account after this entry, to through_entry.';
COMMENT ON COLUMN payout.problem IS 'Why it failed, or could not be taken back.';
COMMENT ON COLUMN payout.reversed IS 'How much of it was taken back.';
COMMENT ON COLUMN payout.reversing IS 'How much of it the provider is asked to take back.';

CREATE TABLE payout_account (
	teacher_id text COLLATE "C" NOT NULL,
	provider text NOT NULL,
	ref text COLLATE "C",
	ready boolean NOT NULL DEFAULT false,
	requirements text[] NOT NULL DEFAULT '{}'::text[],
	created_at timestamp with time zone NOT NULL,
	updated_at timestamp with time zone NOT NULL,
	CONSTRAINT payout_account_pkey PRIMARY KEY (teacher_id),
	CONSTRAINT payout_account_ref UNIQUE (provider, ref),
	CONSTRAINT payout_account_ready CHECK (((NOT ready) OR (ref IS NOT NULL)))
);
COMMENT ON TABLE payout_account IS 'Where teachers are paid, as the provider says. Personal data of teachers: that they have an account there, and what is still asked of them; who they are and where their money goes is known to the provider alone.';
COMMENT ON COLUMN payout_account.ref IS 'What the provider calls it; null until it has been told.';

CREATE TABLE payout_run (
	id text COLLATE "C" NOT NULL,
	currency text COLLATE "C" NOT NULL,
	period text COLLATE "C" NOT NULL,
	state text NOT NULL DEFAULT 'running'::text,
	through text COLLATE "C" NOT NULL DEFAULT ''::text,
	payouts integer NOT NULL DEFAULT 0,
	amount bigint NOT NULL DEFAULT 0,
	created_by text COLLATE "C" NOT NULL,
	created_at timestamp with time zone NOT NULL,
	done_at timestamp with time zone,
	CONSTRAINT payout_run_pkey PRIMARY KEY (id),
	CONSTRAINT payout_run_once UNIQUE (period, currency),
	CONSTRAINT payout_run_amount CHECK (((payouts >= 0) AND (amount >= 0))),
	CONSTRAINT payout_run_state CHECK (((state = ANY (ARRAY['running'::text, 'done'::text])) AND ((state = 'done'::text) = (done_at IS NOT NULL))))
);
CREATE INDEX payout_run_list ON payout_run USING btree (created_at DESC, id DESC);
CREATE INDEX payout_run_running ON payout_run USING btree (created_at, id) WHERE (state = 'running'::text);
COMMENT ON TABLE payout_run IS 'Runs that pay teachers what they have in a currency. Personal data of who began it: their id. Kept as the books are.';
COMMENT ON COLUMN payout_run.period IS 'The month, as 2026-03, or the moment of one that was wanted besides.';
COMMENT ON COLUMN payout_run.through IS 'Up to which teacher it has come.';

CREATE TABLE plan (
	id text COLLATE "C" NOT NULL,
	owner_id text COLLATE "C" NOT NULL,
	title text NOT NULL,
	description text NOT NULL,
	every text NOT NULL,
	course_ids text[] NOT NULL,
	currencies text[] NOT NULL,
	amounts bigint[] NOT NULL,
	state text NOT NULL,
	revision bigint NOT NULL DEFAULT 1,
	created_at timestamp with time zone NOT NULL,
	CONSTRAINT plan_pkey PRIMARY KEY (id),
	CONSTRAINT plan_courses CHECK (((cardinality(course_ids) >= 1) AND (cardinality(course_ids) <= 20))),
	CONSTRAINT plan_every CHECK ((every = ANY (ARRAY['month'::text, 'year'::text]))),
	CONSTRAINT plan_prices CHECK (((cardinality(currencies) = cardinality(amounts)) AND (cardinality(currencies) > 0))),
	CONSTRAINT plan_state CHECK ((state = ANY (ARRAY['draft'::text, 'published'::text, 'withdrawn'::text])))
);
CREATE INDEX plan_owner ON plan USING btree (owner_id, created_at DESC, id DESC);
CREATE INDEX plan_with_course ON plan USING gin (course_ids) WHERE (state = 'published'::text);
COMMENT ON TABLE plan IS 'Courses to which one subscribes. owner_id is personal data of the teacher, kept as long as subscriptions name the plan.';
COMMENT ON COLUMN plan.every IS 'How long a period is.';

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
	told boolean NOT NULL DEFAULT true,
	CONSTRAINT product_pkey PRIMARY KEY (course_id),
	CONSTRAINT product_amount CHECK ((amount >= 0)),
	CONSTRAINT product_currency CHECK ((currency ~ '^[A-Z]{3}$'::text)),
	CONSTRAINT product_price CHECK ((((amount IS NULL) = (currency IS NULL)) AND ((amount IS NULL) = (priced_at IS NULL))))
);
CREATE INDEX product_untold ON product USING btree (course_id) WHERE (NOT told);
COMMENT ON TABLE product IS 'Published courses and their prices. seller_id is personal data of the teacher, kept while the course is.';
COMMENT ON COLUMN product.told IS 'Whether PriceSet was sent with all that it has: not yet for reductions from before it had them.';

CREATE TABLE product_price (
	course_id text COLLATE "C" NOT NULL,
	currency text COLLATE "C" NOT NULL,
	amount bigint NOT NULL,
	CONSTRAINT product_price_pkey PRIMARY KEY (course_id, currency),
	CONSTRAINT product_price_product FOREIGN KEY (course_id) REFERENCES product(course_id),
	CONSTRAINT product_price_amount CHECK ((amount > 0))
);
COMMENT ON TABLE product_price IS 'Prices of courses in further currencies. Who changes them locks the product. No personal data.';

CREATE TABLE provider_balance (
	provider text NOT NULL,
	currency text NOT NULL,
	amount bigint NOT NULL,
	CONSTRAINT provider_balance_pkey PRIMARY KEY (provider, currency)
);
COMMENT ON TABLE provider_balance IS 'The sums of its transactions. No personal data.';

CREATE TABLE provider_call (
	id bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
	key text COLLATE "C" NOT NULL,
	kind text NOT NULL,
	object_id text COLLATE "C" NOT NULL,
	state text NOT NULL DEFAULT 'waiting'::text,
	attempts integer NOT NULL DEFAULT 0,
	next_at timestamp with time zone NOT NULL,
	problem text NOT NULL DEFAULT ''::text,
	created_at timestamp with time zone NOT NULL,
	done_at timestamp with time zone,
	CONSTRAINT provider_call_pkey PRIMARY KEY (id),
	CONSTRAINT provider_call_once UNIQUE (key),
	CONSTRAINT provider_call_state CHECK ((state = ANY (ARRAY['waiting'::text, 'done'::text, 'refused'::text])))
);
CREATE INDEX provider_call_due ON provider_call USING btree (next_at, id) WHERE (state = 'waiting'::text);
CREATE INDEX provider_call_turn ON provider_call USING btree (object_id, id) WHERE (state = 'waiting'::text);
COMMENT ON TABLE provider_call IS 'What the payment provider is asked for, written in the transaction that wants it and carried out after. No personal data.';
COMMENT ON COLUMN provider_call.key IS 'The key under which the provider does it once.';
COMMENT ON COLUMN provider_call.next_at IS 'When it is tried next; while it is tried, when somebody else may try.';

CREATE TABLE provider_cursor (
	provider text NOT NULL,
	cursor text NOT NULL,
	CONSTRAINT provider_cursor_pkey PRIMARY KEY (provider)
);
COMMENT ON TABLE provider_cursor IS 'Up to where its transactions were read. No personal data.';

CREATE TABLE provider_event (
	provider text NOT NULL,
	id text COLLATE "C" NOT NULL,
	type text NOT NULL,
	object_id text COLLATE "C" NOT NULL,
	account text COLLATE "C" NOT NULL,
	happened_at timestamp with time zone NOT NULL,
	received_at timestamp with time zone NOT NULL,
	body bytea,
	state text NOT NULL DEFAULT 'waiting'::text,
	attempts integer NOT NULL DEFAULT 0,
	next_at timestamp with time zone NOT NULL,
	problem text NOT NULL DEFAULT ''::text,
	done_at timestamp with time zone,
	CONSTRAINT provider_event_pkey PRIMARY KEY (provider, id),
	CONSTRAINT provider_event_state CHECK ((state = ANY (ARRAY['waiting'::text, 'done'::text, 'ignored'::text, 'parked'::text])))
);
CREATE INDEX provider_event_body ON provider_event USING btree (received_at) WHERE (body IS NOT NULL);
CREATE INDEX provider_event_due ON provider_event USING btree (next_at) WHERE (state = 'waiting'::text);
CREATE INDEX provider_event_parked ON provider_event USING btree (received_at) WHERE (state = 'parked'::text);
CREATE INDEX provider_event_received ON provider_event USING btree (received_at);
COMMENT ON TABLE provider_event IS 'What the payment provider told, once each. Nothing of it is believed: what it is about is looked up at the provider.';
COMMENT ON COLUMN provider_event.object_id IS 'What it is about, as the provider calls it.';
COMMENT ON COLUMN provider_event.account IS 'The teacher''s account at the provider in which it happened; empty for the platform''s own.';
COMMENT ON COLUMN provider_event.body IS 'As it came, for whoever asks what was told; null when it was looked up or its time is over. Personal data of buyers: what the provider knows of who paid. Deleted after 90 days.';
COMMENT ON COLUMN provider_event.next_at IS 'When it is tried next; while it is tried, when somebody else may try.';

CREATE TABLE provider_transaction (
	provider text NOT NULL,
	id text COLLATE "C" NOT NULL,
	kind text NOT NULL,
	ref text COLLATE "C" NOT NULL,
	amount bigint NOT NULL,
	fee bigint NOT NULL,
	currency text NOT NULL,
	at timestamp with time zone NOT NULL,
	matched boolean NOT NULL DEFAULT false,
	asked_at timestamp with time zone,
	coming boolean NOT NULL DEFAULT false,
	CONSTRAINT provider_transaction_pkey PRIMARY KEY (provider, id)
);
CREATE INDEX provider_transaction_unmatched ON provider_transaction USING btree (provider, id) WHERE (NOT matched);
COMMENT ON TABLE provider_transaction IS 'What moved the balance at the payment provider, as it says. No personal data.';
COMMENT ON COLUMN provider_transaction.asked_at IS 'When the provider was last asked whose it is; NULL for never.';
COMMENT ON COLUMN provider_transaction.coming IS 'Whether the provider said, when it was last asked, that it is on its way.';

CREATE TABLE quote (
	id text COLLATE "C" NOT NULL,
	buyer_id text COLLATE "C" NOT NULL,
	currency text NOT NULL,
	total bigint NOT NULL,
	coupon_id text COLLATE "C" NOT NULL,
	code text COLLATE "C" NOT NULL,
	lines jsonb NOT NULL,
	created_at timestamp with time zone NOT NULL,
	expires_at timestamp with time zone NOT NULL,
	order_id text COLLATE "C" NOT NULL DEFAULT ''::text,
	CONSTRAINT quote_pkey PRIMARY KEY (id),
	CONSTRAINT quote_total CHECK ((total >= 0))
);
CREATE INDEX quote_expiry ON quote USING btree (expires_at);
COMMENT ON TABLE quote IS 'What carts cost, for a while. Personal data of the buyer: what they mean to buy, and sealed what they write to who gets a gift. Deleted a day after they expire.';

CREATE TABLE reconciliation (
	id text COLLATE "C" NOT NULL,
	state text NOT NULL,
	step text NOT NULL,
	after text COLLATE "C" NOT NULL DEFAULT ''::text,
	compared bigint NOT NULL DEFAULT 0,
	found bigint NOT NULL DEFAULT 0,
	healed bigint NOT NULL DEFAULT 0,
	problem text NOT NULL DEFAULT ''::text,
	asked_by text COLLATE "C" NOT NULL,
	created_at timestamp with time zone NOT NULL,
	lease_until timestamp with time zone NOT NULL,
	finished_at timestamp with time zone,
	CONSTRAINT reconciliation_pkey PRIMARY KEY (id),
	CONSTRAINT reconciliation_state CHECK ((state = ANY (ARRAY['running'::text, 'done'::text])))
);
CREATE INDEX reconciliation_newest ON reconciliation USING btree (created_at DESC, id DESC);
CREATE UNIQUE INDEX reconciliation_one ON reconciliation USING btree (state) WHERE (state = 'running'::text);
COMMENT ON TABLE reconciliation IS 'Passes that compare orders, the ledger, access and the payment provider. Personal data: the id of who asked.';
COMMENT ON COLUMN reconciliation.after IS 'How far the step has come: who goes on begins behind it.';

CREATE TABLE reduction (
	id text COLLATE "C" NOT NULL,
	course_id text COLLATE "C" NOT NULL,
	starts_at timestamp with time zone NOT NULL,
	ends_at timestamp with time zone NOT NULL,
	currencies text[] NOT NULL,
	amounts bigint[] NOT NULL,
	created_by text COLLATE "C" NOT NULL,
	created_at timestamp with time zone NOT NULL,
	CONSTRAINT reduction_pkey PRIMARY KEY (id),
	CONSTRAINT reduction_product FOREIGN KEY (course_id) REFERENCES product(course_id),
	CONSTRAINT reduction_prices CHECK (((cardinality(currencies) = cardinality(amounts)) AND (cardinality(currencies) > 0))),
	CONSTRAINT reduction_window CHECK ((ends_at >= starts_at))
);
CREATE INDEX reduction_course ON reduction USING btree (course_id, starts_at DESC, id DESC);
COMMENT ON TABLE reduction IS 'Times in which courses cost less. No two of a course overlap: who adds one locks the product. Personal data of who made it: their id.';

CREATE TABLE referral (
	account_id text COLLATE "C" NOT NULL,
	code text COLLATE "C" NOT NULL,
	created_at timestamp with time zone NOT NULL,
	CONSTRAINT referral_pkey PRIMARY KEY (account_id),
	CONSTRAINT referral_code UNIQUE (code)
);
COMMENT ON TABLE referral IS 'Codes in links of accounts, by which orders come. Personal data of the account: its id. Kept while the account is.';

CREATE TABLE refund (
	id text COLLATE "C" NOT NULL,
	order_id text COLLATE "C" NOT NULL,
	payment_id text COLLATE "C" NOT NULL,
	source text NOT NULL,
	state text NOT NULL,
	amount bigint NOT NULL,
	currency text NOT NULL,
	reason text NOT NULL,
	note text NOT NULL,
	ends_access boolean NOT NULL,
	ref text COLLATE "C",
	fail_reason text NOT NULL DEFAULT ''::text,
	booked boolean NOT NULL DEFAULT false,
	requested_by text COLLATE "C" NOT NULL,
	created_at timestamp with time zone NOT NULL,
	settled_at timestamp with time zone,
	credited boolean NOT NULL DEFAULT false,
	CONSTRAINT refund_pkey PRIMARY KEY (id),
	CONSTRAINT refund_ref UNIQUE (payment_id, ref),
	CONSTRAINT refund_order FOREIGN KEY (order_id) REFERENCES orders(id),
	CONSTRAINT refund_payment FOREIGN KEY (payment_id) REFERENCES payment(id),
	CONSTRAINT refund_amount CHECK ((amount >= 0)),
	CONSTRAINT refund_settled CHECK (((state = 'pending'::text) = (settled_at IS NULL))),
	CONSTRAINT refund_source CHECK ((source = ANY (ARRAY['staff'::text, 'teacher'::text, 'request'::text, 'surplus'::text, 'provider'::text]))),
	CONSTRAINT refund_state CHECK ((state = ANY (ARRAY['pending'::text, 'succeeded'::text, 'failed'::text])))
);
CREATE INDEX refund_by_ref ON refund USING btree (ref) WHERE (ref IS NOT NULL);
CREATE INDEX refund_list ON refund USING btree (created_at DESC, id DESC);
CREATE INDEX refund_list_of_state ON refund USING btree (state, created_at DESC, id DESC) WHERE (state <> 'succeeded'::text);
CREATE INDEX refund_of_order ON refund USING btree (order_id, created_at, id);
CREATE INDEX refund_to_credit ON refund USING btree (id) WHERE (booked AND (NOT credited));
COMMENT ON TABLE refund IS 'What was or will be given back of payments. Personal data of who asked for it: their id, and what staff wrote in note. Kept as the books are.';
COMMENT ON COLUMN refund.source IS 'Who wanted it; "surplus" for what was paid for nothing, "provider" for what was given back there by hand.';
COMMENT ON COLUMN refund.ref IS 'What the provider calls it; null until it has been told.';
COMMENT ON COLUMN refund.booked IS 'Whether it is in the ledger: it succeeded, though it may have failed after that.';
COMMENT ON COLUMN refund.credited IS 'Whether there is a credit note, or none is due.';

CREATE TABLE refund_line (
	refund_id text COLLATE "C" NOT NULL,
	line_id text COLLATE "C" NOT NULL,
	amount bigint NOT NULL,
	tax bigint NOT NULL DEFAULT 0,
	CONSTRAINT refund_line_pkey PRIMARY KEY (refund_id, line_id),
	CONSTRAINT refund_line_line FOREIGN KEY (line_id) REFERENCES order_line(id),
	CONSTRAINT refund_line_refund FOREIGN KEY (refund_id) REFERENCES refund(id),
	CONSTRAINT refund_line_amount CHECK ((amount >= 0))
);
CREATE INDEX refund_line_of_line ON refund_line USING btree (line_id);
COMMENT ON TABLE refund_line IS 'What of refunds is for which line: what was asked for, and once it has succeeded what was booked. No personal data of its own.';
COMMENT ON COLUMN refund_line.tax IS 'What of the amount is tax, once it has succeeded.';

CREATE TABLE refund_request (
	id text COLLATE "C" NOT NULL,
	order_id text COLLATE "C" NOT NULL,
	line_id text COLLATE "C" NOT NULL,
	course_id text COLLATE "C" NOT NULL,
	buyer_id text COLLATE "C" NOT NULL,
	state text NOT NULL,
	reason text NOT NULL,
	answer text NOT NULL DEFAULT ''::text,
	refund_id text COLLATE "C",
	created_at timestamp with time zone NOT NULL,
	decided_at timestamp with time zone,
	decided_by text COLLATE "C" NOT NULL DEFAULT ''::text,
	CONSTRAINT refund_request_pkey PRIMARY KEY (id),
	CONSTRAINT refund_request_line FOREIGN KEY (line_id) REFERENCES order_line(id),
	CONSTRAINT refund_request_order FOREIGN KEY (order_id) REFERENCES orders(id),
	CONSTRAINT refund_request_refund FOREIGN KEY (refund_id) REFERENCES refund(id),
	CONSTRAINT refund_request_decided CHECK (((state = 'open'::text) = (decided_at IS NULL))),
	CONSTRAINT refund_request_state CHECK ((state = ANY (ARRAY['open'::text, 'approved'::text, 'declined'::text, 'void'::text])))
);
CREATE INDEX refund_request_list ON refund_request USING btree (created_at DESC, id DESC);
CREATE INDEX refund_request_of_course ON refund_request USING btree (course_id, created_at DESC, id DESC);
CREATE INDEX refund_request_of_order ON refund_request USING btree (order_id, created_at, id);
CREATE UNIQUE INDEX refund_request_open ON refund_request USING btree (line_id) WHERE (state = 'open'::text);
COMMENT ON TABLE refund_request IS 'Buyers who ask for their money back, for one line each. Personal data of the buyer: their id and what they wrote in reason; of who decided: their id and answer. Kept as the order is.';

CREATE TABLE revenue_rule (
	id text COLLATE "C" NOT NULL,
	teacher_id text COLLATE "C" NOT NULL,
	platform_share integer NOT NULL,
	valid_from timestamp with time zone NOT NULL,
	valid_until timestamp with time zone,
	reason text NOT NULL,
	created_by text COLLATE "C" NOT NULL,
	created_at timestamp with time zone NOT NULL,
	channel text NOT NULL DEFAULT ''::text,
	coupon_origin text NOT NULL DEFAULT ''::text,
	CONSTRAINT revenue_rule_pkey PRIMARY KEY (id),
	CONSTRAINT revenue_rule_channel CHECK ((channel = ANY (ARRAY[''::text, 'marketplace'::text, 'teacher_link'::text, 'affiliate'::text]))),
	CONSTRAINT revenue_rule_dates CHECK (((valid_until IS NULL) OR (valid_until >= valid_from))),
	CONSTRAINT revenue_rule_origin CHECK ((coupon_origin = ANY (ARRAY[''::text, 'teacher'::text, 'platform'::text]))),
	CONSTRAINT revenue_rule_share CHECK (((platform_share >= 0) AND (platform_share <= 10000)))
);
CREATE INDEX revenue_rule_of ON revenue_rule USING btree (teacher_id, valid_from DESC, id DESC);
COMMENT ON TABLE revenue_rule IS 'What the platform keeps of sales, for everybody or for a teacher. Personal data of the teacher and of who made it: their ids. Kept as long as the books are.';
COMMENT ON COLUMN revenue_rule.teacher_id IS 'Whose courses it is for; empty for everybody''s.';
COMMENT ON COLUMN revenue_rule.platform_share IS 'In hundredths of a percent.';
COMMENT ON COLUMN revenue_rule.channel IS 'What way orders come that it is for; empty for any.';
COMMENT ON COLUMN revenue_rule.coupon_origin IS 'Whose coupon lines have that it is for; empty for any, and for none.';

CREATE TABLE revenue_split (
	course_id text COLLATE "C" NOT NULL,
	version integer NOT NULL,
	valid_from timestamp with time zone NOT NULL,
	account_ids text[] NOT NULL,
	basis_points integer[] NOT NULL,
	CONSTRAINT revenue_split_pkey PRIMARY KEY (course_id, version),
	CONSTRAINT revenue_split_pairs CHECK (((cardinality(account_ids) = cardinality(basis_points)) AND (cardinality(account_ids) > 0)))
);
COMMENT ON TABLE revenue_split IS 'How teachers share what a course earns: a copy of what courses says. Personal data of the teachers: their ids. Kept as long as the books are.';

CREATE TABLE seat_price (
	course_id text COLLATE "C" NOT NULL,
	currency text COLLATE "C" NOT NULL,
	from_quantity integer NOT NULL,
	amount bigint NOT NULL,
	CONSTRAINT seat_price_pkey PRIMARY KEY (course_id, currency, from_quantity),
	CONSTRAINT seat_price_product FOREIGN KEY (course_id) REFERENCES product(course_id),
	CONSTRAINT seat_price_amount CHECK ((amount > 0)),
	CONSTRAINT seat_price_from CHECK (((from_quantity >= 1) AND (from_quantity <= 5000)))
);
COMMENT ON TABLE seat_price IS 'What a seat of a course costs, by how many are bought. Who changes them locks the product. No personal data.';

CREATE TABLE subscription (
	id text COLLATE "C" NOT NULL,
	plan_id text COLLATE "C" NOT NULL,
	buyer_id text COLLATE "C" NOT NULL,
	state text NOT NULL,
	every text NOT NULL,
	amount bigint NOT NULL,
	currency text NOT NULL,
	referral_code text COLLATE "C" NOT NULL,
	provider text NOT NULL,
	ref text COLLATE "C",
	period_start timestamp with time zone,
	period_end timestamp with time zone,
	cancel_at_period_end boolean NOT NULL DEFAULT false,
	wished boolean NOT NULL DEFAULT false,
	next_attempt_at timestamp with time zone,
	ended_at timestamp with time zone,
	end_reason text NOT NULL DEFAULT ''::text,
	revision bigint NOT NULL DEFAULT 1,
	heard_at timestamp with time zone,
	created_at timestamp with time zone NOT NULL,
	looked integer NOT NULL DEFAULT 0,
	next_look timestamp with time zone NOT NULL DEFAULT 'infinity'::timestamp with time zone,
	CONSTRAINT subscription_pkey PRIMARY KEY (id),
	CONSTRAINT subscription_ref UNIQUE (provider, ref),
	CONSTRAINT subscription_plan FOREIGN KEY (plan_id) REFERENCES plan(id),
	CONSTRAINT subscription_amount CHECK ((amount > 0)),
	CONSTRAINT subscription_attempt CHECK (((next_attempt_at IS NULL) OR (state = 'past_due'::text))),
	CONSTRAINT subscription_ended CHECK ((((state = 'ended'::text) = (ended_at IS NOT NULL)) AND ((state = 'ended'::text) = (end_reason <> ''::text)))),
	CONSTRAINT subscription_every CHECK ((every = ANY (ARRAY['month'::text, 'year'::text]))),
	CONSTRAINT subscription_period CHECK ((((period_start IS NULL) = (period_end IS NULL)) AND ((period_end IS NULL) OR (period_end > period_start)))),
	CONSTRAINT subscription_state CHECK ((state = ANY (ARRAY['incomplete'::text, 'active'::text, 'past_due'::text, 'ended'::text])))
);
CREATE INDEX subscription_list ON subscription USING btree (created_at DESC, id DESC);
CREATE UNIQUE INDEX subscription_live ON subscription USING btree (buyer_id, plan_id) WHERE (state <> 'ended'::text);
CREATE INDEX subscription_look ON subscription USING btree (provider, next_look) WHERE (ref IS NOT NULL);
CREATE INDEX subscription_of_buyer ON subscription USING btree (buyer_id, created_at DESC, id DESC);
COMMENT ON TABLE subscription IS 'Who pays for a plan again and again. Personal data of the buyer: their id. Kept as their orders are.';
COMMENT ON COLUMN subscription.amount IS 'What a period costs, as the plan did when it began.';
COMMENT ON COLUMN subscription.referral_code IS 'The code of whose link brought the buyer.';
COMMENT ON COLUMN subscription.ref IS 'What the provider calls it; null until the first period is paid.';
COMMENT ON COLUMN subscription.period_end IS 'Until when it is paid.';
COMMENT ON COLUMN subscription.wished IS 'Whether the provider has yet to be told whether it ends.';
COMMENT ON COLUMN subscription.heard_at IS 'When the provider was asked for what is known of its state.';
COMMENT ON COLUMN subscription.looked IS 'How often the provider was asked since something changed.';
COMMENT ON COLUMN subscription.next_look IS 'When it is asked next.';

CREATE TABLE subscription_transition (
	subscription_id text COLLATE "C" NOT NULL,
	id bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
	happened_at timestamp with time zone NOT NULL,
	state text NOT NULL,
	cause text NOT NULL,
	CONSTRAINT subscription_transition_pkey PRIMARY KEY (subscription_id, id),
	CONSTRAINT subscription_transition_of FOREIGN KEY (subscription_id) REFERENCES subscription(id)
);
COMMENT ON TABLE subscription_transition IS 'The history of subscriptions; no personal data of its own.';
