-- +goose Up

CREATE TABLE provider_event (
	provider text NOT NULL,
	id text COLLATE "C" NOT NULL,
	type text NOT NULL,
	object_id text COLLATE "C" NOT NULL,
	account text COLLATE "C" NOT NULL,
	happened_at timestamptz NOT NULL,
	received_at timestamptz NOT NULL,
	body bytea,
	state text NOT NULL DEFAULT 'waiting',
	attempts integer NOT NULL DEFAULT 0,
	next_at timestamptz NOT NULL,
	problem text NOT NULL DEFAULT '',
	done_at timestamptz,
	CONSTRAINT provider_event_pkey PRIMARY KEY (provider, id),
	CONSTRAINT provider_event_state CHECK (state IN ('waiting', 'done', 'ignored', 'parked'))
);
CREATE INDEX provider_event_due ON provider_event (next_at) WHERE state = 'waiting';
CREATE INDEX provider_event_parked ON provider_event (received_at) WHERE state = 'parked';
CREATE INDEX provider_event_received ON provider_event (received_at);
CREATE INDEX provider_event_body ON provider_event (received_at) WHERE body IS NOT NULL;
COMMENT ON TABLE provider_event IS 'What the payment provider told, once each. Nothing of it is believed: what it is about is looked up at the provider.';
COMMENT ON COLUMN provider_event.object_id IS 'What it is about, as the provider calls it.';
COMMENT ON COLUMN provider_event.account IS 'The teacher''s account at the provider in which it happened; empty for the platform''s own.';
COMMENT ON COLUMN provider_event.body IS 'As it came, for whoever asks what was told; null when it was looked up or its time is over. Personal data of buyers: what the provider knows of who paid. Deleted after 90 days.';
COMMENT ON COLUMN provider_event.next_at IS 'When it is tried next; while it is tried, when somebody else may try.';

-- Payments are looked up when nothing was heard of them.
ALTER TABLE payment ADD COLUMN looked integer NOT NULL DEFAULT 0;
ALTER TABLE payment ADD COLUMN next_look timestamptz NOT NULL DEFAULT '-infinity';
COMMENT ON COLUMN payment.looked IS 'How often the provider was asked how it stands.';
COMMENT ON COLUMN payment.next_look IS 'When it is asked next, while the payment is not over or its fee not known.';
CREATE INDEX payment_look ON payment (provider, next_look) WHERE ref IS NOT NULL AND (state IN ('open', 'processing') OR state = 'succeeded' AND fee IS NULL);
