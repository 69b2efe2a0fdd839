-- +goose Up

ALTER TABLE ledger_account
	DROP CONSTRAINT ledger_account_known,
	ADD CONSTRAINT ledger_account_known CHECK (account ~ '^(provider|disputed|processing|platform|tax|buyers|bank|(held|teacher|payable):account_[0-9a-hjkmnp-tv-z]{26})$');

CREATE TABLE payout_account (
	teacher_id text COLLATE "C" NOT NULL,
	provider text NOT NULL,
	ref text COLLATE "C",
	ready boolean NOT NULL DEFAULT false,
	requirements text[] NOT NULL DEFAULT '{}',
	created_at timestamptz NOT NULL,
	updated_at timestamptz NOT NULL,
	CONSTRAINT payout_account_pkey PRIMARY KEY (teacher_id),
	CONSTRAINT payout_account_ref UNIQUE (provider, ref),
	CONSTRAINT payout_account_ready CHECK (NOT ready OR ref IS NOT NULL)
);
COMMENT ON TABLE payout_account IS 'Where teachers are paid, as the provider says. Personal data of teachers: that they have an account there, and what is still asked of them; who they are and where their money goes is known to the provider alone.';
COMMENT ON COLUMN payout_account.ref IS 'What the provider calls it; null until it has been told.';

CREATE TABLE payout_run (
	id text COLLATE "C" NOT NULL,
	currency text COLLATE "C" NOT NULL,
	period text COLLATE "C" NOT NULL,
	state text NOT NULL DEFAULT 'running',
	through text COLLATE "C" NOT NULL DEFAULT '',
	payouts integer NOT NULL DEFAULT 0,
	amount bigint NOT NULL DEFAULT 0,
	created_by text COLLATE "C" NOT NULL,
	created_at timestamptz NOT NULL,
	done_at timestamptz,
	CONSTRAINT payout_run_pkey PRIMARY KEY (id),
	CONSTRAINT payout_run_once UNIQUE (period, currency),
	CONSTRAINT payout_run_state CHECK (state IN ('running', 'done') AND (state = 'done') = (done_at IS NOT NULL)),
	CONSTRAINT payout_run_amount CHECK (payouts >= 0 AND amount >= 0)
);
CREATE INDEX payout_run_running ON payout_run (created_at, id) WHERE state = 'running';
CREATE INDEX payout_run_list ON payout_run (created_at DESC, id DESC);
COMMENT ON TABLE payout_run IS 'Runs that pay teachers what they have in a currency. Personal data of who began it: their id. Kept as the books are.';
COMMENT ON COLUMN payout_run.period IS 'The month, as 2026-03, or the moment of one that was wanted besides.';
COMMENT ON COLUMN payout_run.through IS 'Up to which teacher it has come.';

CREATE TABLE payout (
	id text COLLATE "C" NOT NULL,
	run_id text COLLATE "C" NOT NULL,
	teacher_id text COLLATE "C" NOT NULL,
	currency text COLLATE "C" NOT NULL,
	period text COLLATE "C" NOT NULL,
	state text NOT NULL DEFAULT 'on_its_way',
	amount bigint NOT NULL,
	opening bigint NOT NULL,
	closing bigint NOT NULL,
	after_entry bigint NOT NULL,
	through_entry bigint NOT NULL,
	ref text COLLATE "C",
	problem text NOT NULL DEFAULT '',
	created_at timestamptz NOT NULL,
	paid_at timestamptz,
	CONSTRAINT payout_pkey PRIMARY KEY (id),
	CONSTRAINT payout_run FOREIGN KEY (run_id) REFERENCES payout_run (id),
	CONSTRAINT payout_account FOREIGN KEY (teacher_id) REFERENCES payout_account (teacher_id),
	CONSTRAINT payout_once UNIQUE (teacher_id, currency, period),
	CONSTRAINT payout_after UNIQUE (teacher_id, currency, after_entry),
	CONSTRAINT payout_state CHECK (state IN ('on_its_way', 'paid', 'failed', 'reversing', 'reversed')),
	CONSTRAINT payout_amount CHECK (amount > 0),
	CONSTRAINT payout_entries CHECK (after_entry < through_entry)
);
CREATE INDEX payout_of_run ON payout (run_id, id);
CREATE INDEX payout_of_teacher ON payout (teacher_id, created_at DESC, id DESC);
CREATE INDEX payout_statement ON payout (teacher_id, currency, through_entry DESC);
CREATE INDEX payout_list ON payout (created_at DESC, id DESC);
COMMENT ON TABLE payout IS 'What teachers were paid, and which postings of the ledger it covers. Personal data of teachers: what they were paid. Kept as the books are.';
COMMENT ON COLUMN payout.opening IS 'What they had before the first posting of the statement.';
COMMENT ON COLUMN payout.closing IS 'What they have after the last, which is the payout.';
COMMENT ON COLUMN payout.after_entry IS 'The statement has the postings of the teacher''s account after this entry, to through_entry.';
COMMENT ON COLUMN payout.problem IS 'Why it failed, or could not be taken back.';

CREATE INDEX payout_by_ref ON payout (ref) WHERE ref IS NOT NULL;
