-- +goose Up

ALTER TABLE publication
	ADD COLUMN gates text CONSTRAINT publication_gates CHECK (gates IN ('none', 'lock', 'hide')),
	ADD COLUMN needs jsonb NOT NULL DEFAULT '{}';
COMMENT ON COLUMN publication.gates IS 'What rules and schedules in it can do to somebody: nothing, lock a part, or hide one; absent in rows of programs of before, of which it is not known.';
COMMENT ON COLUMN publication.needs IS 'Which courses have to be completed before it can be: a rule of "all" and "any" of courses; {} for none. Rows of programs of before may have other conditions in it, which are passed over.';

WITH ruled AS (
	SELECT i.course_id, i.number, v.settings -> 'release' AS rule, v.settings -> 'schedule' ? 'available_from' AS waits,
		NOT coalesce((v.settings ->> 'required')::boolean, true) AS optional
	FROM publication_item i JOIN item_version v ON v.id = i.version_id WHERE v.settings ?| ARRAY['release', 'schedule']
	UNION ALL
	SELECT course_id, number, release, false, false FROM publication WHERE release <> '{}'
), told AS (
	SELECT course_id, number, bool_or(coalesce(rule @? '$.**.when_closed ? (@ == "hide")', false)) AS hides,
		bool_or(rule IS NOT NULL OR coalesce(waits, false)) AS locks,
		jsonb_agg(rule) FILTER (WHERE NOT optional AND rule @? '$.**.course_completed') AS rules
	FROM ruled GROUP BY course_id, number
)
UPDATE publication p SET gates = CASE WHEN told.hides THEN 'hide' WHEN told.locks THEN 'lock' ELSE 'none' END,
	needs = CASE WHEN told.rules IS NULL THEN '{}' ELSE jsonb_build_object('all', jsonb_build_object('rules', told.rules)) END
FROM publication q LEFT JOIN told USING (course_id, number)
WHERE p.course_id = q.course_id AND p.number = q.number;
