-- +goose Up

-- Which accounts there are, in which currencies: written with the first posting.
CREATE TABLE ledger_account (
	account text COLLATE "C" NOT NULL,
	currency text COLLATE "C" NOT NULL,
	CONSTRAINT ledger_account_pkey PRIMARY KEY (account, currency),
	CONSTRAINT ledger_account_known CHECK (account ~ '^(provider|disputed|processing|platform|tax|(held|teacher):account_[0-9a-hjkmnp-tv-z]{26})$'),
	CONSTRAINT ledger_account_currency CHECK (currency ~ '^[A-Z]{3}$')
);
COMMENT ON TABLE ledger_account IS 'The accounts of the ledger that were ever posted to. Personal data of teachers: their ids in the names of accounts. Kept as long as the law asks for books.';

CREATE TABLE ledger_entry (
	id bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
	key text COLLATE "C" NOT NULL,
	kind text COLLATE "C" NOT NULL,
	order_id text COLLATE "C",
	booked_at timestamptz NOT NULL,
	CONSTRAINT ledger_entry_pkey PRIMARY KEY (id),
	CONSTRAINT ledger_entry_once UNIQUE (key),
	CONSTRAINT ledger_entry_order FOREIGN KEY (order_id) REFERENCES orders (id)
);
CREATE INDEX ledger_entry_of_order ON ledger_entry (order_id, id) WHERE order_id IS NOT NULL;
COMMENT ON TABLE ledger_entry IS 'What was booked. Rows are added, never changed or deleted. No personal data of its own.';
COMMENT ON COLUMN ledger_entry.key IS 'Names what is booked: it is booked once.';

CREATE TABLE ledger_posting (
	entry_id bigint NOT NULL,
	position smallint NOT NULL,
	account text COLLATE "C" NOT NULL,
	currency text COLLATE "C" NOT NULL,
	amount bigint NOT NULL,
	line_id text COLLATE "C",
	CONSTRAINT ledger_posting_pkey PRIMARY KEY (entry_id, position),
	CONSTRAINT ledger_posting_entry FOREIGN KEY (entry_id) REFERENCES ledger_entry (id),
	CONSTRAINT ledger_posting_account FOREIGN KEY (account, currency) REFERENCES ledger_account (account, currency),
	CONSTRAINT ledger_posting_line FOREIGN KEY (line_id) REFERENCES order_line (id),
	CONSTRAINT ledger_posting_amount CHECK (amount <> 0)
);
CREATE INDEX ledger_posting_by_account ON ledger_posting (account, entry_id, position) INCLUDE (currency, amount);
COMMENT ON TABLE ledger_posting IS 'The amounts of entries, in minor units: debits above zero, credits below. Those of an entry sum to zero in each currency. Rows are added, never changed or deleted. Personal data of teachers: their ids in the names of accounts.';

CREATE TABLE ledger_checkpoint (
	account text COLLATE "C" NOT NULL,
	currency text COLLATE "C" NOT NULL,
	entry_id bigint NOT NULL,
	balance bigint NOT NULL,
	CONSTRAINT ledger_checkpoint_pkey PRIMARY KEY (account, currency, entry_id),
	CONSTRAINT ledger_checkpoint_account FOREIGN KEY (account, currency) REFERENCES ledger_account (account, currency)
);
COMMENT ON TABLE ledger_checkpoint IS 'What accounts had with all entries up to one, so that a balance is read from few postings. Follows from the postings. Personal data of teachers: their ids in the names of accounts.';

CREATE TABLE ledger_head (
	one boolean NOT NULL DEFAULT true,
	entry_id bigint NOT NULL,
	CONSTRAINT ledger_head_pkey PRIMARY KEY (one),
	CONSTRAINT ledger_head_one CHECK (one)
);
INSERT INTO ledger_head (entry_id) VALUES (0);
COMMENT ON TABLE ledger_head IS 'Up to which entry checkpoints were made. No personal data.';

-- The service may write to all its tables. What it can't do is below.
-- +goose StatementBegin
CREATE FUNCTION ledger_only_grows() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	RAISE EXCEPTION '% only grows', TG_TABLE_NAME USING ERRCODE = 'restrict_violation', CONSTRAINT = 'ledger_only_grows';
END $$;

-- What one statement adds is balanced, and belongs to entries of the same transaction.
CREATE FUNCTION ledger_balanced() RETURNS trigger LANGUAGE plpgsql AS $$
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
END $$;

CREATE FUNCTION ledger_not_empty() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF NOT EXISTS (SELECT FROM ledger_posting WHERE entry_id = NEW.id) THEN
		RAISE EXCEPTION 'entry % has no postings', NEW.id USING ERRCODE = 'check_violation', CONSTRAINT = 'ledger_not_empty';
	END IF;
	RETURN NULL;
END $$;
-- +goose StatementEnd
CREATE TRIGGER ledger_entry_only_grows BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger_entry FOR EACH STATEMENT EXECUTE FUNCTION ledger_only_grows();
CREATE TRIGGER ledger_posting_only_grows BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger_posting FOR EACH STATEMENT EXECUTE FUNCTION ledger_only_grows();
CREATE TRIGGER ledger_posting_balanced AFTER INSERT ON ledger_posting REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION ledger_balanced();
CREATE CONSTRAINT TRIGGER ledger_entry_not_empty AFTER INSERT ON ledger_entry DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION ledger_not_empty();
