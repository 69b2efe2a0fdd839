-- +goose Up

ALTER TABLE answer_given ADD COLUMN max_points text COLLATE "C";
COMMENT ON COLUMN answer_given.max_points IS 'What the question was worth when it was given, of which points are; null of marks from before it was noted.';

ALTER TABLE peer_review ADD COLUMN taken boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN peer_review.taken IS 'Where it is lost: whether staff have taken it, by its name, from somebody who has begun others. It is not theirs to do any more.';
