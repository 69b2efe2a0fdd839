-- +goose Up

CREATE INDEX gift_redeemed_by ON gift (redeemed_by, course_id) WHERE redeemed_by IS NOT NULL;
