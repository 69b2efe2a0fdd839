-- +goose Up

CREATE TABLE billing_details (
	account_id text COLLATE "C" NOT NULL,
	sealed bytea NOT NULL,
	revision bigint NOT NULL,
	updated_at timestamptz NOT NULL,
	CONSTRAINT billing_details_pkey PRIMARY KEY (account_id)
);
COMMENT ON TABLE billing_details IS 'What buyers want to have on their invoices. Personal data, sealed with the key of the person.';

CREATE TABLE invoice_series (
	series text COLLATE "C" NOT NULL,
	last bigint NOT NULL,
	CONSTRAINT invoice_series_pkey PRIMARY KEY (series)
);
COMMENT ON TABLE invoice_series IS 'The last number of each series of invoices. No personal data.';

CREATE TABLE invoice (
	id text COLLATE "C" NOT NULL,
	series text COLLATE "C" NOT NULL,
	position bigint NOT NULL,
	kind text NOT NULL,
	order_id text COLLATE "C" NOT NULL,
	refund_id text COLLATE "C",
	corrects text COLLATE "C",
	buyer_id text COLLATE "C" NOT NULL,
	country text COLLATE "C" NOT NULL DEFAULT '',
	issued_at timestamptz NOT NULL,
	currency text NOT NULL,
	total bigint NOT NULL,
	tax bigint NOT NULL,
	lines jsonb NOT NULL,
	seller jsonb NOT NULL,
	buyer bytea,
	CONSTRAINT invoice_pkey PRIMARY KEY (id),
	CONSTRAINT invoice_number UNIQUE (series, position),
	CONSTRAINT invoice_order FOREIGN KEY (order_id) REFERENCES orders (id),
	CONSTRAINT invoice_corrects FOREIGN KEY (corrects) REFERENCES invoice (id),
	CONSTRAINT invoice_kind CHECK (kind IN ('invoice', 'credit_note')),
	CONSTRAINT invoice_credit_note CHECK ((kind = 'credit_note') = (refund_id IS NOT NULL)),
	CONSTRAINT invoice_tax CHECK (tax BETWEEN 0 AND total)
);
CREATE UNIQUE INDEX invoice_once ON invoice (order_id) WHERE kind = 'invoice';
CREATE UNIQUE INDEX invoice_refund_once ON invoice (refund_id) WHERE kind = 'credit_note';
CREATE INDEX invoice_buyer ON invoice (buyer_id, issued_at DESC, id DESC);
CREATE INDEX invoice_issued ON invoice (issued_at, id);
COMMENT ON TABLE invoice IS 'Invoices and credit notes as they were issued. Rows are added, never changed or deleted. Personal data of the buyer: the id, the country and, sealed with a key that outlives the account, name and address. Kept as long as the law asks for books.';

-- +goose StatementBegin
CREATE FUNCTION invoice_only_grows() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	RAISE EXCEPTION '% only grows', TG_TABLE_NAME USING ERRCODE = 'restrict_violation', CONSTRAINT = 'invoice_only_grows';
END $$;
-- +goose StatementEnd
CREATE TRIGGER invoice_only_grows BEFORE UPDATE OR DELETE OR TRUNCATE ON invoice FOR EACH STATEMENT EXECUTE FUNCTION invoice_only_grows();

ALTER TABLE orders ADD COLUMN invoiced boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN orders.invoiced IS 'Whether there is an invoice.';
CREATE INDEX orders_to_invoice ON orders (paid_at, id) WHERE paid_at IS NOT NULL AND NOT invoiced;
