-- +goose Up

-- A call waits for an earlier one about the same.
CREATE INDEX provider_call_turn ON provider_call (object_id, id) WHERE state = 'waiting';
