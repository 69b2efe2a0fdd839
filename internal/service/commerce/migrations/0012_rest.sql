-- +goose Up

-- What is taken back of payouts, in parts.
ALTER TABLE payout
	ADD COLUMN reversed bigint NOT NULL DEFAULT 0,
	ADD COLUMN reversing bigint NOT NULL DEFAULT 0;
UPDATE payout SET reversed = amount WHERE state = 'reversed';
UPDATE payout SET reversing = amount WHERE state = 'reversing';
ALTER TABLE payout ADD CONSTRAINT payout_reversed CHECK (reversed >= 0 AND reversing >= 0 AND reversed + reversing <= amount);
COMMENT ON COLUMN payout.reversed IS 'How much of it was taken back.';
COMMENT ON COLUMN payout.reversing IS 'How much of it the provider is asked to take back.';

ALTER TABLE payment ADD COLUMN checked_at timestamptz;
COMMENT ON COLUMN payment.checked_at IS 'When its buyer last had it looked up; not again for some seconds.';

ALTER TABLE order_line ADD COLUMN bundle_title text NOT NULL DEFAULT '';
UPDATE order_line l SET bundle_title = b.title FROM bundle b WHERE l.bundle_id <> '' AND b.id = l.bundle_id;
COMMENT ON COLUMN order_line.bundle_title IS 'What the bundle was called when it was ordered.';

ALTER TABLE product ADD COLUMN told boolean NOT NULL DEFAULT true;
UPDATE product p SET told = false
WHERE amount IS NOT NULL AND (EXISTS (SELECT FROM product_price f WHERE f.course_id = p.course_id) OR EXISTS (SELECT FROM reduction r WHERE r.course_id = p.course_id AND r.ends_at > now()));
CREATE INDEX product_untold ON product (course_id) WHERE NOT told;
COMMENT ON COLUMN product.told IS 'Whether PriceSet was sent with all that it has: not yet for reductions from before it had them.';
