-- +goose Up

ALTER TABLE published_item
	ADD COLUMN counted boolean NOT NULL DEFAULT false,
	ADD COLUMN viewed boolean NOT NULL DEFAULT false,
	ADD COLUMN watch_percent int NOT NULL DEFAULT 0,
	ADD COLUMN submitted boolean NOT NULL DEFAULT false,
	ADD COLUMN min_percent numeric,
	ADD COLUMN passed boolean NOT NULL DEFAULT false,
	ADD COLUMN manual text NOT NULL DEFAULT '',
	ADD COLUMN ruled boolean NOT NULL GENERATED ALWAYS AS (viewed OR watch_percent > 0 OR submitted OR min_percent IS NOT NULL OR passed OR manual <> '') STORED,
	ADD COLUMN minutes int NOT NULL DEFAULT 0,
	ADD COLUMN media_ids text[] COLLATE "C" NOT NULL DEFAULT '{}',
	ADD CONSTRAINT published_item_manual CHECK (manual IN ('', 'self', 'staff'));
COMMENT ON COLUMN published_item.counted IS 'Whether the course and its module are completed only when it is: it is required, and something completes it.';
COMMENT ON COLUMN published_item.viewed IS 'With the columns up to manual: what completes it, all of it. Of requirements of one kind the strictest.';
COMMENT ON COLUMN published_item.ruled IS 'Whether anything completes it.';
COMMENT ON COLUMN published_item.media_ids IS 'The video and audio files that it shows, all of which are to be watched to watch_percent.';
-- What is next is found from the end: who has not completed the last has not completed all.
CREATE INDEX published_item_counted ON published_item (course_id, version, position) WHERE counted;
CREATE INDEX published_item_media ON published_item USING gin (media_ids) WHERE media_ids <> '{}';

-- Before items were told every lesson counted, and viewing completed it.
UPDATE published_item SET viewed = true, counted = required WHERE kind = 'lesson';

CREATE TABLE module_item (
	course_id text COLLATE "C" NOT NULL,
	version int NOT NULL,
	module_id text COLLATE "C" NOT NULL,
	item_id text COLLATE "C" NOT NULL,
	CONSTRAINT module_item_pkey PRIMARY KEY (course_id, version, module_id, item_id)
);
COMMENT ON TABLE module_item IS 'What counts in each module, whatever the depth, in the versions in course_version. No personal data.';
CREATE INDEX module_item_of ON module_item (course_id, version, item_id);

INSERT INTO module_item (course_id, version, module_id, item_id)
SELECT course_id, version, parent_id, item_id FROM published_item WHERE counted AND parent_id <> '';

COMMENT ON COLUMN learner.resume_lesson_id IS 'The item of any kind that they were in last.';
COMMENT ON COLUMN learner.completed_at IS 'When all that is required was completed for the first time; never taken back.';

ALTER TABLE lesson_completion ADD COLUMN version int NOT NULL DEFAULT 0;
COMMENT ON TABLE lesson_completion IS 'Items and modules that somebody has completed, whether the version they see still has them or not: what leaves a course may come back. Rows are deleted only when a mark that completed an item is taken back. Personal data of the account. Kept as long as the account.';
COMMENT ON COLUMN lesson_completion.lesson_id IS 'The id of an item of any kind.';
COMMENT ON COLUMN lesson_completion.version IS 'The version of the course by whose rule it was completed; 0 for before versions were kept.';
CREATE INDEX lesson_completion_of_account ON lesson_completion (account_id, completed_at);

CREATE TABLE item_fact (
	course_id text COLLATE "C" NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	item_id text COLLATE "C" NOT NULL,
	viewed_at timestamptz,
	marked_at timestamptz,
	marked_by text COLLATE "C" NOT NULL DEFAULT '',
	marked_by_staff boolean NOT NULL DEFAULT false,
	mark_reason text NOT NULL DEFAULT '',
	position_media_id text COLLATE "C" NOT NULL DEFAULT '',
	position_ms bigint NOT NULL DEFAULT 0,
	position_at timestamptz,
	CONSTRAINT item_fact_pkey PRIMARY KEY (course_id, account_id, item_id)
) WITH (fillfactor = 85);
COMMENT ON TABLE item_fact IS 'What somebody has done in an item, whatever completes it: when they first viewed it, the mark that stands, and where they left off. Personal data of the account. Kept as long as the account.';

-- Everything viewed so far was completed by it.
INSERT INTO item_fact (course_id, account_id, item_id, viewed_at)
SELECT course_id, account_id, lesson_id, completed_at FROM lesson_completion;

CREATE TABLE item_best (
	course_id text COLLATE "C" NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	item_id text COLLATE "C" NOT NULL,
	submitted_at timestamptz,
	percent numeric,
	passed boolean NOT NULL,
	CONSTRAINT item_best_pkey PRIMARY KEY (course_id, account_id, item_id)
);
COMMENT ON TABLE item_best IS 'The best that somebody has reached in a quiz or an assignment: of all that the service assessment told, in whatever order, the first handing in, the highest posted score, and whether any has passed. Personal data of the account. Kept as long as the account.';

CREATE TABLE media (
	media_id text COLLATE "C" NOT NULL,
	version bigint NOT NULL,
	duration_ms int NOT NULL,
	CONSTRAINT media_pkey PRIMARY KEY (media_id),
	CONSTRAINT media_duration CHECK (duration_ms >= 0)
);
COMMENT ON TABLE media IS 'How long videos and sounds are, as the service media told it with version; 0 for not known. No personal data.';

CREATE TABLE watched (
	course_id text COLLATE "C" NOT NULL,
	media_id text COLLATE "C" NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	ranges int4multirange NOT NULL,
	watched_ms int NOT NULL,
	CONSTRAINT watched_pkey PRIMARY KEY (course_id, media_id, account_id)
) WITH (fillfactor = 70);
COMMENT ON TABLE watched IS 'Which parts of a video or a sound somebody has watched, in milliseconds, and how much that is. Personal data of the account. Kept as long as the account.';

CREATE TABLE learner_clock (
	account_id text COLLATE "C" NOT NULL,
	last_at timestamptz,
	last_course_id text COLLATE "C" NOT NULL DEFAULT '',
	watch jsonb NOT NULL DEFAULT '{}',
	CONSTRAINT learner_clock_pkey PRIMARY KEY (account_id)
) WITH (fillfactor = 50);
COMMENT ON TABLE learner_clock IS 'When somebody did something last, and in watch the players that they report from and which real time of the last day has earned them video. The row is locked by all that they do. Personal data of the account. Kept as long as the account.';

CREATE TABLE activity_day (
	account_id text COLLATE "C" NOT NULL,
	day date NOT NULL,
	course_id text COLLATE "C" NOT NULL,
	spent_ms bigint NOT NULL,
	acted boolean NOT NULL,
	CONSTRAINT activity_day_pkey PRIMARY KEY (account_id, day, course_id)
) WITH (fillfactor = 85);
COMMENT ON TABLE activity_day IS 'How long somebody was busy with a course on a day of their calendar, and whether they did something that counts for a streak. Personal data of the account. Kept as long as the account.';

ALTER TABLE account ADD COLUMN time_zone text NOT NULL DEFAULT '';
COMMENT ON TABLE account IS 'Names to list learners by, and the zones that their days are of, as the service identity told them. Personal data of the account. Kept as long as the account.';

CREATE TABLE note (
	note_id text COLLATE "C" NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	course_id text COLLATE "C" NOT NULL,
	item_id text COLLATE "C" NOT NULL,
	block int NOT NULL,
	media_id text COLLATE "C" NOT NULL,
	position_ms bigint NOT NULL,
	text bytea NOT NULL,
	revision int NOT NULL,
	created_at timestamptz NOT NULL,
	updated_at timestamptz NOT NULL,
	CONSTRAINT note_pkey PRIMARY KEY (note_id)
);
COMMENT ON TABLE note IS 'What somebody has noted for themselves. Personal data of the account, seen by nobody else. Kept until it is deleted, at most as long as the account.';
COMMENT ON COLUMN note.text IS 'Sealed with the person''s key.';
CREATE INDEX note_of_account ON note (account_id, note_id DESC);
CREATE INDEX note_of_course ON note (account_id, course_id, note_id DESC);

CREATE TABLE bookmark (
	bookmark_id text COLLATE "C" NOT NULL,
	account_id text COLLATE "C" NOT NULL,
	course_id text COLLATE "C" NOT NULL,
	item_id text COLLATE "C" NOT NULL,
	block int NOT NULL,
	media_id text COLLATE "C" NOT NULL,
	position_ms bigint NOT NULL,
	label bytea,
	created_at timestamptz NOT NULL,
	CONSTRAINT bookmark_pkey PRIMARY KEY (bookmark_id),
	CONSTRAINT bookmark_place UNIQUE (account_id, course_id, item_id, block, media_id, position_ms)
);
COMMENT ON TABLE bookmark IS 'Places in courses that somebody wants to find again. Personal data of the account, seen by nobody else. Kept until it is deleted, at most as long as the account.';
COMMENT ON COLUMN bookmark.label IS 'Sealed with the person''s key; null for none.';
CREATE INDEX bookmark_of_account ON bookmark (account_id, bookmark_id DESC);

ALTER TABLE cohort
	ADD COLUMN ends_at timestamptz,
	ADD COLUMN cancelled boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN cohort.ends_at IS 'Null for no end, and for what was told before ends were kept.';

CREATE TABLE calendar_feed (
	account_id text COLLATE "C" NOT NULL,
	token_hash bytea NOT NULL,
	created_at timestamptz NOT NULL,
	CONSTRAINT calendar_feed_pkey PRIMARY KEY (account_id),
	CONSTRAINT calendar_feed_token UNIQUE (token_hash)
);
COMMENT ON TABLE calendar_feed IS 'Whose calendar is read at which secret address, of which only a hash is kept. Personal data of the account. Kept until it is deleted, at most as long as the account.';

CREATE TABLE settle_task (
	course_id text COLLATE "C" NOT NULL,
	cohort_id text COLLATE "C" NOT NULL,
	items text[] COLLATE "C",
	narrow boolean NOT NULL,
	after_id text COLLATE "C" NOT NULL DEFAULT '',
	queued bigint GENERATED ALWAYS AS IDENTITY,
	CONSTRAINT settle_task_pkey PRIMARY KEY (course_id, cohort_id)
);
CREATE INDEX settle_task_queue ON settle_task (queued);
COMMENT ON TABLE settle_task IS 'Of whom it is to be found what they have completed by new rules: all learners of a course, or of a cohort of it; after_id is how far that is. No personal data but that id, for a moment.';
COMMENT ON COLUMN settle_task.items IS 'Only these; null for all.';
