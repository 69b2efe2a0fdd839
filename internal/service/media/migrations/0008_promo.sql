-- +goose Up

ALTER TABLE course_cover ADD COLUMN promo_id text COLLATE "C";
COMMENT ON TABLE course_cover IS 'The cover and the promotional video of each course as last heard, null when it has none or is not published, with the sequence of the event that said so. No personal data.';
COMMENT ON COLUMN course_cover.promo_id IS 'Anybody may watch it, by addresses that are asked for on the landing page.';
