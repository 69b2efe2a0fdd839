-- +goose Up

CREATE TABLE revenue_rule (
	id text COLLATE "C" NOT NULL,
	teacher_id text COLLATE "C" NOT NULL,
	platform_share integer NOT NULL,
	valid_from timestamptz NOT NULL,
	valid_until timestamptz,
	reason text NOT NULL,
	created_by text COLLATE "C" NOT NULL,
	created_at timestamptz NOT NULL,
	CONSTRAINT revenue_rule_pkey PRIMARY KEY (id),
	CONSTRAINT revenue_rule_share CHECK (platform_share BETWEEN 0 AND 10000),
	CONSTRAINT revenue_rule_dates CHECK (valid_until IS NULL OR valid_until >= valid_from)
);
CREATE INDEX revenue_rule_of ON revenue_rule (teacher_id, valid_from DESC, id DESC);
COMMENT ON TABLE revenue_rule IS 'What the platform keeps of sales, for everybody or for a teacher. Personal data of the teacher and of who made it: their ids. Kept as long as the books are.';
COMMENT ON COLUMN revenue_rule.teacher_id IS 'Whose courses it is for; empty for everybody''s.';
COMMENT ON COLUMN revenue_rule.platform_share IS 'In hundredths of a percent.';

CREATE TABLE revenue_split (
	course_id text COLLATE "C" NOT NULL,
	version integer NOT NULL,
	valid_from timestamptz NOT NULL,
	account_ids text[] NOT NULL,
	basis_points integer[] NOT NULL,
	CONSTRAINT revenue_split_pkey PRIMARY KEY (course_id, version),
	CONSTRAINT revenue_split_pairs CHECK (cardinality(account_ids) = cardinality(basis_points) AND cardinality(account_ids) > 0)
);
COMMENT ON TABLE revenue_split IS 'How teachers share what a course earns: a copy of what courses says. Personal data of the teachers: their ids. Kept as long as the books are.';

CREATE TABLE order_line_share (
	line_id text COLLATE "C" NOT NULL,
	position smallint NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	basis_points integer NOT NULL,
	CONSTRAINT order_line_share_pkey PRIMARY KEY (line_id, position),
	CONSTRAINT order_line_share_line FOREIGN KEY (line_id) REFERENCES order_line (id),
	CONSTRAINT order_line_share_points CHECK (basis_points BETWEEN 1 AND 10000)
);
COMMENT ON TABLE order_line_share IS 'How teachers share what is left of a line, as it stood when it was ordered. Lines without rows are the seller''s alone. Personal data of the teachers: their ids. Kept as the order is.';

ALTER TABLE orders ADD COLUMN booked boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN orders.booked IS 'Whether the sale is in the ledger.';
CREATE INDEX orders_to_book ON orders (id) WHERE paid_at IS NOT NULL AND NOT booked;

ALTER TABLE order_line
	ADD COLUMN platform_share integer,
	ADD COLUMN rule_id text COLLATE "C",
	ADD COLUMN held_until timestamptz,
	ADD COLUMN released boolean NOT NULL DEFAULT false,
	ADD CONSTRAINT order_line_rule FOREIGN KEY (rule_id) REFERENCES revenue_rule (id),
	ADD CONSTRAINT order_line_platform_share CHECK (platform_share BETWEEN 0 AND 10000);
COMMENT ON COLUMN order_line.platform_share IS 'In hundredths of a percent, as it stood when it was ordered; null for lines from before there were shares.';
COMMENT ON COLUMN order_line.rule_id IS 'The rule that says so; null for what holds without one.';
COMMENT ON COLUMN order_line.held_until IS 'When the teachers'' shares can be paid out; null until it is booked.';
CREATE INDEX order_line_held ON order_line (held_until) WHERE NOT released AND held_until IS NOT NULL;
