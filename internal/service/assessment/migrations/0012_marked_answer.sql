-- +goose Up

ALTER TABLE answer_mark
	ADD COLUMN answer_seq bigint,
	ADD COLUMN max_points text COLLATE "C";
COMMENT ON COLUMN answer_mark.answer_seq IS 'The operation of the log that the answer came with which was marked; 0 for none, null of marks from before it was noted. Another answer is marked anew.';
COMMENT ON COLUMN answer_mark.max_points IS 'What the question was worth when it was marked, of which points are; null of marks from before it was noted.';
COMMENT ON COLUMN answer_operation.seq IS 'Its number in the attempt, from 1 without gaps, in the order of arrival. Marks have numbers of their own, from 1,000,001; those from before they had are among the others.';
