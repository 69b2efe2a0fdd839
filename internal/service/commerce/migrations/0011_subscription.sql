-- +goose Up

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
	created_at timestamptz NOT NULL,
	CONSTRAINT plan_pkey PRIMARY KEY (id),
	CONSTRAINT plan_every CHECK (every IN ('month', 'year')),
	CONSTRAINT plan_state CHECK (state IN ('draft', 'published', 'withdrawn')),
	CONSTRAINT plan_courses CHECK (cardinality(course_ids) BETWEEN 1 AND 20),
	CONSTRAINT plan_prices CHECK (cardinality(currencies) = cardinality(amounts) AND cardinality(currencies) > 0)
);
CREATE INDEX plan_owner ON plan (owner_id, created_at DESC, id DESC);
CREATE INDEX plan_with_course ON plan USING gin (course_ids) WHERE state = 'published';
COMMENT ON TABLE plan IS 'Courses to which one subscribes. owner_id is personal data of the teacher, kept as long as subscriptions name the plan.';
COMMENT ON COLUMN plan.every IS 'How long a period is.';

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
	period_start timestamptz,
	period_end timestamptz,
	cancel_at_period_end boolean NOT NULL DEFAULT false,
	wished boolean NOT NULL DEFAULT false,
	next_attempt_at timestamptz,
	ended_at timestamptz,
	end_reason text NOT NULL DEFAULT '',
	revision bigint NOT NULL DEFAULT 1,
	heard_at timestamptz,
	created_at timestamptz NOT NULL,
	looked integer NOT NULL DEFAULT 0,
	next_look timestamptz NOT NULL DEFAULT 'infinity',
	CONSTRAINT subscription_pkey PRIMARY KEY (id),
	CONSTRAINT subscription_plan FOREIGN KEY (plan_id) REFERENCES plan (id),
	CONSTRAINT subscription_ref UNIQUE (provider, ref),
	CONSTRAINT subscription_state CHECK (state IN ('incomplete', 'active', 'past_due', 'ended')),
	CONSTRAINT subscription_every CHECK (every IN ('month', 'year')),
	CONSTRAINT subscription_amount CHECK (amount > 0),
	CONSTRAINT subscription_period CHECK ((period_start IS NULL) = (period_end IS NULL) AND (period_end IS NULL OR period_end > period_start)),
	CONSTRAINT subscription_ended CHECK ((state = 'ended') = (ended_at IS NOT NULL) AND (state = 'ended') = (end_reason <> '')),
	CONSTRAINT subscription_attempt CHECK (next_attempt_at IS NULL OR state = 'past_due')
);
CREATE UNIQUE INDEX subscription_live ON subscription (buyer_id, plan_id) WHERE state <> 'ended';
CREATE INDEX subscription_of_buyer ON subscription (buyer_id, created_at DESC, id DESC);
CREATE INDEX subscription_list ON subscription (created_at DESC, id DESC);
CREATE INDEX subscription_look ON subscription (provider, next_look) WHERE ref IS NOT NULL;
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
	happened_at timestamptz NOT NULL,
	state text NOT NULL,
	cause text NOT NULL,
	CONSTRAINT subscription_transition_pkey PRIMARY KEY (subscription_id, id),
	CONSTRAINT subscription_transition_of FOREIGN KEY (subscription_id) REFERENCES subscription (id)
);
COMMENT ON TABLE subscription_transition IS 'The history of subscriptions; no personal data of its own.';

ALTER TABLE orders ADD COLUMN subscription_id text COLLATE "C";
ALTER TABLE orders ADD COLUMN period_ref text COLLATE "C";
ALTER TABLE orders ADD COLUMN period_start timestamptz;
ALTER TABLE orders ADD COLUMN period_end timestamptz;
ALTER TABLE orders ADD COLUMN access_until timestamptz;
ALTER TABLE orders ADD CONSTRAINT orders_subscription FOREIGN KEY (subscription_id) REFERENCES subscription (id);
ALTER TABLE orders ADD CONSTRAINT orders_period CHECK (num_nonnulls(period_start, period_end, access_until) IN (0, 3) AND (period_end IS NULL OR period_end > period_start AND access_until > period_start AND subscription_id IS NOT NULL));
CREATE INDEX orders_of_subscription ON orders (subscription_id, created_at, id) WHERE subscription_id IS NOT NULL;
CREATE UNIQUE INDEX orders_period_once ON orders (subscription_id, period_ref) WHERE period_ref IS NOT NULL;
CREATE INDEX orders_subscription_expiry ON orders (expires_at) WHERE state = 'awaiting_payment' AND subscription_id IS NOT NULL;
COMMENT ON COLUMN orders.subscription_id IS 'The subscription of which it is a period; null for none.';
COMMENT ON COLUMN orders.period_ref IS 'What the provider calls what it asked to be paid for the period; null until that is known.';
COMMENT ON COLUMN orders.period_end IS 'Until when the period is; null until it is paid.';
COMMENT ON COLUMN orders.access_until IS 'Until when what the period bought gives access.';

ALTER TABLE order_line DROP CONSTRAINT order_line_kind;
ALTER TABLE order_line ADD CONSTRAINT order_line_kind CHECK (kind IN ('course', 'seats', 'gift', 'subscription'));
CREATE INDEX order_line_subscription ON order_line (id) WHERE kind = 'subscription';

CREATE TABLE development_subscription (
	id text COLLATE "C" NOT NULL,
	first_payment text COLLATE "C" NOT NULL,
	amount bigint NOT NULL,
	currency text NOT NULL,
	every text NOT NULL,
	every_seconds integer NOT NULL DEFAULT 0,
	state text NOT NULL,
	period_start timestamptz,
	period_end timestamptz,
	cancel_at_period_end boolean NOT NULL DEFAULT false,
	fails boolean NOT NULL DEFAULT false,
	attempts integer NOT NULL DEFAULT 0,
	next_at timestamptz,
	ended_at timestamptz,
	CONSTRAINT development_subscription_pkey PRIMARY KEY (id),
	CONSTRAINT development_subscription_first UNIQUE (first_payment),
	CONSTRAINT development_subscription_payment FOREIGN KEY (first_payment) REFERENCES development_payment (id),
	CONSTRAINT development_subscription_state CHECK (state IN ('incomplete', 'active', 'past_due', 'ended'))
);
CREATE INDEX development_subscription_due ON development_subscription (next_at) WHERE next_at IS NOT NULL;
COMMENT ON TABLE development_subscription IS 'Subscriptions at the development provider. No personal data.';
COMMENT ON COLUMN development_subscription.next_at IS 'When something happens next: the period ends, or a payment is tried again.';

ALTER TABLE development_payment ADD COLUMN subscription_id text COLLATE "C";
ALTER TABLE development_payment ADD COLUMN period_start timestamptz;
ALTER TABLE development_payment ADD COLUMN period_end timestamptz;
CREATE INDEX development_payment_of_subscription ON development_payment (subscription_id, period_start) WHERE subscription_id IS NOT NULL;
