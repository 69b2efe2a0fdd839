-- +goose Up

ALTER TABLE entitlement DROP CONSTRAINT entitlement_source;
ALTER TABLE entitlement ADD CONSTRAINT entitlement_source CHECK (CASE source
	WHEN 'free' THEN source_id = ''
	WHEN 'manual' THEN true
	WHEN 'order' THEN source_id <> ''
	WHEN 'subscription' THEN source_id <> ''
	WHEN 'seat' THEN source_id <> ''
	WHEN 'gift' THEN source_id <> ''
	WHEN 'code' THEN source_id <> ''
	WHEN 'waiver' THEN source_id <> ''
	ELSE false END);
ALTER TABLE entitlement
	ADD COLUMN granted_by text COLLATE "C" NOT NULL DEFAULT '',
	ADD COLUMN reason text NOT NULL DEFAULT '',
	ADD COLUMN revoked_by text COLLATE "C" NOT NULL DEFAULT '',
	ADD COLUMN due_at timestamptz;
-- What is named by its source gives access once.
CREATE UNIQUE INDEX entitlement_once ON entitlement (source, source_id, course_id) WHERE source_id <> '';
CREATE INDEX entitlement_due ON entitlement (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX entitlement_course ON entitlement (course_id, starts_at DESC, id DESC);
CREATE INDEX entitlement_account ON entitlement (account_id, starts_at DESC, id DESC);
COMMENT ON COLUMN entitlement.source_id IS 'What of the source: an order line, a subscription period, a seat, a gift, an invitation, a waiver, a line of an import. Empty for "free" and for what somebody gave by hand.';
COMMENT ON COLUMN entitlement.granted_by IS 'An account, or the name of the service that gave it by itself.';
COMMENT ON COLUMN entitlement.due_at IS 'When access by this grant next begins or ends by itself; null when it does not any more.';

ALTER TABLE enrollment
	ADD COLUMN active boolean NOT NULL DEFAULT true,
	ADD COLUMN version bigint NOT NULL DEFAULT 1;
COMMENT ON COLUMN enrollment.active IS 'Whether a grant was live when this was last told to others; what is so now is in the ledger.';
