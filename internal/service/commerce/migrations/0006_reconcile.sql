-- +goose Up

CREATE TABLE reconciliation (
	id text COLLATE "C" NOT NULL,
	state text NOT NULL,
	step text NOT NULL,
	after text COLLATE "C" NOT NULL DEFAULT '',
	compared bigint NOT NULL DEFAULT 0,
	found bigint NOT NULL DEFAULT 0,
	healed bigint NOT NULL DEFAULT 0,
	problem text NOT NULL DEFAULT '',
	asked_by text COLLATE "C" NOT NULL,
	created_at timestamptz NOT NULL,
	lease_until timestamptz NOT NULL,
	finished_at timestamptz,
	CONSTRAINT reconciliation_pkey PRIMARY KEY (id),
	CONSTRAINT reconciliation_state CHECK (state IN ('running', 'done'))
);
CREATE UNIQUE INDEX reconciliation_one ON reconciliation (state) WHERE state = 'running';
CREATE INDEX reconciliation_newest ON reconciliation (created_at DESC, id DESC);
COMMENT ON TABLE reconciliation IS 'Passes that compare orders, the ledger, access and the payment provider. Personal data: the id of who asked.';
COMMENT ON COLUMN reconciliation.after IS 'How far the step has come: who goes on begins behind it.';

CREATE TABLE mismatch (
	id text COLLATE "C" NOT NULL,
	kind text NOT NULL,
	object_id text COLLATE "C" NOT NULL,
	detail text NOT NULL,
	cure text NOT NULL,
	state text NOT NULL,
	found_at timestamptz NOT NULL,
	seen_at timestamptz NOT NULL,
	ended_at timestamptz,
	ended_by text COLLATE "C" NOT NULL DEFAULT '',
	reason text NOT NULL DEFAULT '',
	CONSTRAINT mismatch_pkey PRIMARY KEY (id),
	CONSTRAINT mismatch_state CHECK (state IN ('open', 'healed', 'gone', 'dismissed')),
	CONSTRAINT mismatch_ended CHECK ((state = 'open') = (ended_at IS NULL))
);
CREATE UNIQUE INDEX mismatch_open ON mismatch (kind, object_id) WHERE state IN ('open', 'dismissed');
CREATE INDEX mismatch_newest ON mismatch (found_at DESC, id DESC);
COMMENT ON TABLE mismatch IS 'What did not agree. Personal data: the id of who dismissed it; the objects are orders, lines and payments.';

CREATE TABLE provider_transaction (
	provider text NOT NULL,
	id text COLLATE "C" NOT NULL,
	kind text NOT NULL,
	ref text COLLATE "C" NOT NULL,
	amount bigint NOT NULL,
	fee bigint NOT NULL,
	currency text NOT NULL,
	at timestamptz NOT NULL,
	matched boolean NOT NULL DEFAULT false,
	CONSTRAINT provider_transaction_pkey PRIMARY KEY (provider, id)
);
CREATE INDEX provider_transaction_unmatched ON provider_transaction (provider, id) WHERE NOT matched;
COMMENT ON TABLE provider_transaction IS 'What moved the balance at the payment provider, as it says. No personal data.';

CREATE TABLE provider_balance (
	provider text NOT NULL,
	currency text NOT NULL,
	amount bigint NOT NULL,
	CONSTRAINT provider_balance_pkey PRIMARY KEY (provider, currency)
);
COMMENT ON TABLE provider_balance IS 'The sums of its transactions. No personal data.';

CREATE TABLE provider_cursor (
	provider text NOT NULL,
	cursor text NOT NULL,
	CONSTRAINT provider_cursor_pkey PRIMARY KEY (provider)
);
COMMENT ON TABLE provider_cursor IS 'Up to where its transactions were read. No personal data.';

CREATE INDEX order_line_unfulfilled ON order_line (paid_at, id) WHERE paid_at IS NOT NULL AND NOT fulfilled;
