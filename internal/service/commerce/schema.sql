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
	CONSTRAINT development_payment_pkey PRIMARY KEY (id),
	CONSTRAINT development_payment_refunded CHECK (((refunded >= 0) AND (refunded <= amount))),
	CONSTRAINT development_payment_state CHECK ((state = ANY (ARRAY['open'::text, 'processing'::text, 'declined'::text, 'succeeded'::text, 'closed'::text])))
);
COMMENT ON TABLE development_payment IS 'Payments at the development provider. No personal data.';

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
	CONSTRAINT invoice_tax CHECK (((tax >= 0) AND (tax <= total)))
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
	CONSTRAINT ledger_account_known CHECK ((account ~ '^(provider|disputed|processing|platform|tax|buyers|(held|teacher):account_[0-9a-hjkmnp-tv-z]{26})$'::text))
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
	CONSTRAINT order_line_pkey PRIMARY KEY (id),
	CONSTRAINT order_line_order_id_fkey FOREIGN KEY (order_id) REFERENCES orders(id),
	CONSTRAINT order_line_rule FOREIGN KEY (rule_id) REFERENCES revenue_rule(id),
	CONSTRAINT order_line_amount CHECK ((amount > 0)),
	CONSTRAINT order_line_platform_share CHECK (((platform_share >= 0) AND (platform_share <= 10000))),
	CONSTRAINT order_line_tax CHECK (((tax >= 0) AND (tax <= amount)))
);
CREATE INDEX order_line_held ON order_line USING btree (held_until) WHERE ((NOT released) AND (held_until IS NOT NULL));
CREATE UNIQUE INDEX order_line_live ON order_line USING btree (buyer_id, course_id) WHERE live;
CREATE INDEX order_line_order ON order_line USING btree (order_id, "position");
CREATE INDEX order_line_sales ON order_line USING btree (course_id, paid_at DESC, id DESC) WHERE (paid_at IS NOT NULL);
CREATE INDEX order_line_unfulfilled ON order_line USING btree (paid_at, id) WHERE ((paid_at IS NOT NULL) AND (NOT fulfilled));
COMMENT ON TABLE order_line IS 'Lines of orders. buyer_id and seller_id are personal data, kept as the order is.';
COMMENT ON COLUMN order_line.platform_share IS 'In hundredths of a percent, as it stood when it was ordered; null for lines from before there were shares.';
COMMENT ON COLUMN order_line.rule_id IS 'The rule that says so; null for what holds without one.';
COMMENT ON COLUMN order_line.held_until IS 'When the teachers'' shares can be paid out; null until it is booked.';
COMMENT ON COLUMN order_line.tax IS 'What of the amount is tax, as the provider said when it was paid.';

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
	CONSTRAINT orders_pkey PRIMARY KEY (id),
	CONSTRAINT orders_payment UNIQUE (payment_id),
	CONSTRAINT orders_paid CHECK (((state = ANY (ARRAY['paid'::text, 'fulfilled'::text, 'partly_refunded'::text, 'refunded'::text, 'disputed'::text])) = (paid_at IS NOT NULL))),
	CONSTRAINT orders_state CHECK ((state = ANY (ARRAY['awaiting_payment'::text, 'paid'::text, 'fulfilled'::text, 'partly_refunded'::text, 'refunded'::text, 'disputed'::text, 'cancelled'::text, 'expired'::text]))),
	CONSTRAINT orders_total CHECK ((total > 0))
);
CREATE INDEX orders_buyer ON orders USING btree (buyer_id, created_at DESC, id DESC);
CREATE INDEX orders_expiry ON orders USING btree (expires_at) WHERE (state = 'awaiting_payment'::text);
CREATE INDEX orders_to_book ON orders USING btree (id) WHERE ((paid_at IS NOT NULL) AND (NOT booked));
CREATE INDEX orders_to_invoice ON orders USING btree (paid_at, id) WHERE ((paid_at IS NOT NULL) AND (NOT invoiced));
COMMENT ON TABLE orders IS 'Orders. buyer_id is personal data of the buyer, kept for the time that tax law asks for.';
COMMENT ON COLUMN orders.booked IS 'Whether the sale is in the ledger.';
COMMENT ON COLUMN orders.invoiced IS 'Whether there is an invoice.';

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
	CONSTRAINT provider_transaction_pkey PRIMARY KEY (provider, id)
);
CREATE INDEX provider_transaction_unmatched ON provider_transaction USING btree (provider, id) WHERE (NOT matched);
COMMENT ON TABLE provider_transaction IS 'What moved the balance at the payment provider, as it says. No personal data.';

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

CREATE TABLE revenue_rule (
	id text COLLATE "C" NOT NULL,
	teacher_id text COLLATE "C" NOT NULL,
	platform_share integer NOT NULL,
	valid_from timestamp with time zone NOT NULL,
	valid_until timestamp with time zone,
	reason text NOT NULL,
	created_by text COLLATE "C" NOT NULL,
	created_at timestamp with time zone NOT NULL,
	CONSTRAINT revenue_rule_pkey PRIMARY KEY (id),
	CONSTRAINT revenue_rule_dates CHECK (((valid_until IS NULL) OR (valid_until >= valid_from))),
	CONSTRAINT revenue_rule_share CHECK (((platform_share >= 0) AND (platform_share <= 10000)))
);
CREATE INDEX revenue_rule_of ON revenue_rule USING btree (teacher_id, valid_from DESC, id DESC);
COMMENT ON TABLE revenue_rule IS 'What the platform keeps of sales, for everybody or for a teacher. Personal data of the teacher and of who made it: their ids. Kept as long as the books are.';
COMMENT ON COLUMN revenue_rule.teacher_id IS 'Whose courses it is for; empty for everybody''s.';
COMMENT ON COLUMN revenue_rule.platform_share IS 'In hundredths of a percent.';

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
