-- +goose Up

ALTER TABLE orders
	DROP CONSTRAINT orders_state,
	DROP CONSTRAINT orders_paid,
	ADD CONSTRAINT orders_state CHECK (state IN ('awaiting_payment', 'paid', 'fulfilled', 'partly_refunded', 'refunded', 'disputed', 'cancelled', 'expired')),
	ADD CONSTRAINT orders_paid CHECK ((state IN ('paid', 'fulfilled', 'partly_refunded', 'refunded', 'disputed')) = (paid_at IS NOT NULL));

-- An order may be in a state more than once: disputed, and again after that was settled.
ALTER TABLE order_transition DROP CONSTRAINT order_transition_pkey;
ALTER TABLE order_transition ADD COLUMN id bigint GENERATED ALWAYS AS IDENTITY, ADD CONSTRAINT order_transition_pkey PRIMARY KEY (order_id, id);

ALTER TABLE order_line ADD COLUMN tax bigint NOT NULL DEFAULT 0, ADD CONSTRAINT order_line_tax CHECK (tax BETWEEN 0 AND amount);
COMMENT ON COLUMN order_line.tax IS 'What of the amount is tax, as the provider said when it was paid.';

ALTER TABLE ledger_account
	DROP CONSTRAINT ledger_account_known,
	ADD CONSTRAINT ledger_account_known CHECK (account ~ '^(provider|disputed|processing|platform|tax|buyers|(held|teacher):account_[0-9a-hjkmnp-tv-z]{26})$');

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
	created_at timestamptz NOT NULL,
	updated_at timestamptz NOT NULL,
	CONSTRAINT payment_pkey PRIMARY KEY (id),
	CONSTRAINT payment_order UNIQUE (order_id),
	CONSTRAINT payment_order_known FOREIGN KEY (order_id) REFERENCES orders (id),
	CONSTRAINT payment_ref UNIQUE (provider, ref),
	CONSTRAINT payment_state CHECK (state IN ('open', 'processing', 'succeeded', 'closed')),
	CONSTRAINT payment_received CHECK ((state = 'succeeded') = (received IS NOT NULL))
);
COMMENT ON TABLE payment IS 'How orders are paid. No personal data of its own: what a provider knows of the buyer is not kept.';
COMMENT ON COLUMN payment.ref IS 'What the provider calls it; null until it has been told.';
COMMENT ON COLUMN payment.declined IS 'Whether a try to pay was declined; another may succeed.';
COMMENT ON COLUMN payment.received IS 'What was paid, in minor units.';
COMMENT ON COLUMN payment.fee IS 'What the provider kept of it; null while that is not known.';
COMMENT ON COLUMN payment.surplus IS 'Whether nothing is sold for it, since the order had ended or something else was paid than asked: it goes back.';
CREATE INDEX payment_surplus ON payment (id) WHERE surplus;
INSERT INTO payment (id, order_id, provider, ref, state, declined, amount, currency, received, created_at, updated_at)
SELECT payment_id, id, 'development', payment_id,
	CASE WHEN paid_at IS NOT NULL THEN 'succeeded' WHEN state = 'awaiting_payment' THEN 'open' ELSE 'closed' END,
	payment_declined, total, currency, CASE WHEN paid_at IS NOT NULL THEN total END, created_at, coalesce(paid_at, created_at)
FROM orders;

CREATE TABLE provider_call (
	id bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
	key text COLLATE "C" NOT NULL,
	kind text NOT NULL,
	object_id text COLLATE "C" NOT NULL,
	state text NOT NULL DEFAULT 'waiting',
	attempts integer NOT NULL DEFAULT 0,
	next_at timestamptz NOT NULL,
	problem text NOT NULL DEFAULT '',
	created_at timestamptz NOT NULL,
	done_at timestamptz,
	CONSTRAINT provider_call_pkey PRIMARY KEY (id),
	CONSTRAINT provider_call_once UNIQUE (key),
	CONSTRAINT provider_call_state CHECK (state IN ('waiting', 'done', 'refused'))
);
CREATE INDEX provider_call_due ON provider_call (next_at, id) WHERE state = 'waiting';
COMMENT ON TABLE provider_call IS 'What the payment provider is asked for, written in the transaction that wants it and carried out after. No personal data.';
COMMENT ON COLUMN provider_call.key IS 'The key under which the provider does it once.';
COMMENT ON COLUMN provider_call.next_at IS 'When it is tried next; while it is tried, when somebody else may try.';
INSERT INTO provider_call (key, kind, object_id, next_at, created_at)
SELECT 'checkout:' || payment_id, 'checkout', payment_id, now(), now() FROM orders WHERE state = 'awaiting_payment';

-- The development provider's own books: what a real one has with itself.
CREATE TABLE development_payment (
	id text COLLATE "C" NOT NULL,
	amount bigint NOT NULL,
	currency text NOT NULL,
	state text NOT NULL,
	refunded bigint NOT NULL DEFAULT 0,
	CONSTRAINT development_payment_pkey PRIMARY KEY (id),
	CONSTRAINT development_payment_state CHECK (state IN ('open', 'processing', 'declined', 'succeeded', 'closed')),
	CONSTRAINT development_payment_refunded CHECK (refunded BETWEEN 0 AND amount)
);
COMMENT ON TABLE development_payment IS 'Payments at the development provider. No personal data.';
INSERT INTO development_payment (id, amount, currency, state)
SELECT id, amount, currency, CASE WHEN state = 'open' AND declined THEN 'declined' ELSE state END FROM payment;

CREATE TABLE development_object (
	id text COLLATE "C" NOT NULL,
	kind text NOT NULL,
	payment_id text COLLATE "C",
	account text COLLATE "C",
	amount bigint NOT NULL DEFAULT 0,
	currency text NOT NULL DEFAULT '',
	state text NOT NULL,
	reversed bigint NOT NULL DEFAULT 0,
	CONSTRAINT development_object_pkey PRIMARY KEY (id),
	CONSTRAINT development_object_kind CHECK (kind IN ('refund', 'dispute', 'transfer', 'reversal', 'account')),
	CONSTRAINT development_object_payment FOREIGN KEY (payment_id) REFERENCES development_payment (id),
	CONSTRAINT development_object_reversed CHECK (reversed BETWEEN 0 AND amount)
);
CREATE UNIQUE INDEX development_object_dispute ON development_object (payment_id) WHERE kind = 'dispute';
COMMENT ON TABLE development_object IS 'Refunds, disputes, transfers, their reversals and teachers'' accounts at the development provider. Personal data of teachers: their ids in account.';

CREATE TABLE development_transaction (
	id bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
	kind text NOT NULL,
	ref text COLLATE "C" NOT NULL,
	amount bigint NOT NULL,
	fee bigint NOT NULL DEFAULT 0,
	currency text NOT NULL,
	at timestamptz NOT NULL,
	CONSTRAINT development_transaction_pkey PRIMARY KEY (id),
	CONSTRAINT development_transaction_once UNIQUE (kind, ref)
);
COMMENT ON TABLE development_transaction IS 'What moved the balance at the development provider. No personal data.';
INSERT INTO development_transaction (kind, ref, amount, currency, at)
SELECT 'payment', id, amount, currency, updated_at FROM payment WHERE state = 'succeeded' ORDER BY updated_at;
