-- +goose Up

ALTER TABLE media
	ADD COLUMN state text NOT NULL DEFAULT 'ready'
		CONSTRAINT media_state CHECK (state IN ('scanning', 'waiting', 'processing', 'ready', 'broken', 'refused')),
	ADD COLUMN problem text NOT NULL DEFAULT '',
	ADD COLUMN percent smallint NOT NULL DEFAULT 100 CONSTRAINT media_percent CHECK (percent BETWEEN 0 AND 100),
	ADD COLUMN state_version bigint NOT NULL DEFAULT 1;
COMMENT ON COLUMN media.state IS 'scanning: it is looked through for malware. waiting: for its turn or for a tool that is missing. processing: variants are made. ready: it can be shown. broken: it is not what it says it is, or could not be processed. refused: malware was found.';
COMMENT ON COLUMN media.problem IS 'A stable code that says why it waits, is broken or was refused; empty otherwise.';
COMMENT ON COLUMN media.percent IS 'How much of the processing is done.';
COMMENT ON COLUMN media.state_version IS 'Grows with each change of the state that is told.';
