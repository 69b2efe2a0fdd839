-- +goose Up

ALTER TABLE order_line
	ADD COLUMN refunded bigint NOT NULL DEFAULT 0,
	ADD COLUMN reserved bigint NOT NULL DEFAULT 0,
	ADD COLUMN access_ended boolean NOT NULL DEFAULT false,
	ADD COLUMN frozen boolean NOT NULL DEFAULT false,
	ADD COLUMN held_again integer NOT NULL DEFAULT 0,
	ADD CONSTRAINT order_line_refunded CHECK (refunded BETWEEN 0 AND amount),
	ADD CONSTRAINT order_line_reserved CHECK (reserved >= 0);
COMMENT ON COLUMN order_line.refunded IS 'What of the amount was given back, or lost in a dispute.';
COMMENT ON COLUMN order_line.reserved IS 'What of the amount refunds on their way will give back.';
COMMENT ON COLUMN order_line.access_ended IS 'Whether what the line gave was ended by a refund or a dispute.';
COMMENT ON COLUMN order_line.frozen IS 'Whether its shares are held because the payment is disputed.';
COMMENT ON COLUMN order_line.held_again IS 'How often shares that were released were held again.';

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
	fail_reason text NOT NULL DEFAULT '',
	booked boolean NOT NULL DEFAULT false,
	requested_by text COLLATE "C" NOT NULL,
	created_at timestamptz NOT NULL,
	settled_at timestamptz,
	CONSTRAINT refund_pkey PRIMARY KEY (id),
	CONSTRAINT refund_order FOREIGN KEY (order_id) REFERENCES orders (id),
	CONSTRAINT refund_payment FOREIGN KEY (payment_id) REFERENCES payment (id),
	CONSTRAINT refund_ref UNIQUE (payment_id, ref),
	CONSTRAINT refund_amount CHECK (amount >= 0),
	CONSTRAINT refund_source CHECK (source IN ('staff', 'teacher', 'request', 'surplus', 'provider')),
	CONSTRAINT refund_state CHECK (state IN ('pending', 'succeeded', 'failed')),
	CONSTRAINT refund_settled CHECK ((state = 'pending') = (settled_at IS NULL))
);
CREATE INDEX refund_of_order ON refund (order_id, created_at, id);
CREATE INDEX refund_list ON refund (created_at DESC, id DESC);
CREATE INDEX refund_list_of_state ON refund (state, created_at DESC, id DESC) WHERE state <> 'succeeded';
COMMENT ON TABLE refund IS 'What was or will be given back of payments. Personal data of who asked for it: their id, and what staff wrote in note. Kept as the books are.';
COMMENT ON COLUMN refund.source IS 'Who wanted it; "surplus" for what was paid for nothing, "provider" for what was given back there by hand.';
COMMENT ON COLUMN refund.ref IS 'What the provider calls it; null until it has been told.';
COMMENT ON COLUMN refund.booked IS 'Whether it is in the ledger: it succeeded, though it may have failed after that.';

CREATE TABLE refund_line (
	refund_id text COLLATE "C" NOT NULL,
	line_id text COLLATE "C" NOT NULL,
	amount bigint NOT NULL,
	tax bigint NOT NULL DEFAULT 0,
	CONSTRAINT refund_line_pkey PRIMARY KEY (refund_id, line_id),
	CONSTRAINT refund_line_refund FOREIGN KEY (refund_id) REFERENCES refund (id),
	CONSTRAINT refund_line_line FOREIGN KEY (line_id) REFERENCES order_line (id),
	CONSTRAINT refund_line_amount CHECK (amount >= 0)
);
CREATE INDEX refund_line_of_line ON refund_line (line_id);
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
	answer text NOT NULL DEFAULT '',
	refund_id text COLLATE "C",
	created_at timestamptz NOT NULL,
	decided_at timestamptz,
	decided_by text COLLATE "C" NOT NULL DEFAULT '',
	CONSTRAINT refund_request_pkey PRIMARY KEY (id),
	CONSTRAINT refund_request_order FOREIGN KEY (order_id) REFERENCES orders (id),
	CONSTRAINT refund_request_line FOREIGN KEY (line_id) REFERENCES order_line (id),
	CONSTRAINT refund_request_refund FOREIGN KEY (refund_id) REFERENCES refund (id),
	CONSTRAINT refund_request_state CHECK (state IN ('open', 'approved', 'declined', 'void')),
	CONSTRAINT refund_request_decided CHECK ((state = 'open') = (decided_at IS NULL))
);
CREATE UNIQUE INDEX refund_request_open ON refund_request (line_id) WHERE state = 'open';
CREATE INDEX refund_request_of_order ON refund_request (order_id, created_at, id);
CREATE INDEX refund_request_of_course ON refund_request (course_id, created_at DESC, id DESC);
CREATE INDEX refund_request_list ON refund_request (created_at DESC, id DESC);
COMMENT ON TABLE refund_request IS 'Buyers who ask for their money back, for one line each. Personal data of the buyer: their id and what they wrote in reason; of who decided: their id and answer. Kept as the order is.';

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
	due_by timestamptz,
	opened_at timestamptz NOT NULL,
	settled_at timestamptz,
	CONSTRAINT dispute_pkey PRIMARY KEY (id),
	CONSTRAINT dispute_order FOREIGN KEY (order_id) REFERENCES orders (id),
	CONSTRAINT dispute_payment FOREIGN KEY (payment_id) REFERENCES payment (id),
	CONSTRAINT dispute_ref UNIQUE (payment_id, ref),
	CONSTRAINT dispute_state CHECK (state IN ('open', 'won', 'lost')),
	CONSTRAINT dispute_settled CHECK ((state = 'open') = (settled_at IS NULL)),
	CONSTRAINT dispute_amount CHECK (amount > 0 AND fee >= 0)
);
CREATE INDEX dispute_of_order ON dispute (order_id);
CREATE INDEX dispute_list ON dispute (opened_at DESC, id DESC);
COMMENT ON TABLE dispute IS 'Payments that the buyer''s bank wants back. No personal data of its own.';
COMMENT ON COLUMN dispute.fee IS 'What the provider takes for it, whatever comes of it.';
COMMENT ON COLUMN dispute.due_by IS 'Until when evidence can be given at the provider.';

CREATE TABLE dispute_line (
	dispute_id text COLLATE "C" NOT NULL,
	line_id text COLLATE "C" NOT NULL,
	amount bigint NOT NULL,
	tax bigint NOT NULL,
	CONSTRAINT dispute_line_pkey PRIMARY KEY (dispute_id, line_id),
	CONSTRAINT dispute_line_dispute FOREIGN KEY (dispute_id) REFERENCES dispute (id),
	CONSTRAINT dispute_line_line FOREIGN KEY (line_id) REFERENCES order_line (id)
);
COMMENT ON TABLE dispute_line IS 'What of disputes that were lost is of which line. No personal data of its own.';

ALTER TABLE development_payment ADD COLUMN dispute text NOT NULL DEFAULT '',
	ADD CONSTRAINT development_payment_dispute CHECK (dispute IN ('', 'open', 'won', 'lost'));

ALTER TABLE refund ADD COLUMN credited boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN refund.credited IS 'Whether there is a credit note, or none is due.';
CREATE INDEX refund_to_credit ON refund (id) WHERE booked AND NOT credited;
ALTER TABLE dispute ADD COLUMN credited boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN dispute.credited IS 'Whether there is a credit note for one that was lost.';
CREATE INDEX dispute_to_credit ON dispute (id) WHERE state = 'lost' AND NOT credited;
CREATE INDEX refund_by_ref ON refund (ref) WHERE ref IS NOT NULL;
CREATE INDEX dispute_by_ref ON dispute (ref);
