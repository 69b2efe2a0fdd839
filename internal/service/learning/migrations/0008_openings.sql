-- +goose Up

CREATE INDEX effective_deadline_opening ON effective_deadline (available_from, course_id, item_id) WHERE available_from IS NOT NULL;
