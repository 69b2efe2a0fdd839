package learning

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/release"
)

// factRow is what is known of one person in one course, in one row.
type factRow struct {
	CourseID       string
	Number         int32 // of the version they see; 0 when there is none
	EnrolledAt     *time.Time
	Ended          bool
	CompletedAt    *time.Time
	ResumeLessonID string
	CohortID       string
	DoneIDs        []string
	DoneTimes      []time.Time
	ResultIDs      []string
	Percents       []*string
	Passed         []bool
	Submitted      []*time.Time
	GroupIDs       []string
	Roles          []string
	Courses        []string
	DeadlineIDs    []string
	AvailableFrom  []*time.Time
	Due            []*time.Time
	Until          []*time.Time
}

// factSQL reads what is known of the account $1 in the courses $2: roles that
// they have at $3, and what was completed by $4.
const factSQL = `
	SELECT q.course_id, CASE WHEN l.pinned_version > 0 THEN l.pinned_version ELSE coalesce(k.version, 0) END AS number,
		l.enrolled_at, coalesce(l.ended, false) AS ended, l.completed_at, coalesce(l.resume_lesson_id, '') AS resume_lesson_id,
		coalesce(m.cohort_id, '') AS cohort_id,
		d.ids AS done_ids, d.times AS done_times,
		r.ids AS result_ids, r.percents, r.passed, r.submitted,
		(SELECT array_agg(group_id) FROM group_member g WHERE g.course_id = q.course_id AND g.account_id = $1 AND g.member) AS group_ids,
		(SELECT array_agg(role) FROM course_role o WHERE o.course_id = q.course_id AND o.account_id = $1
			AND o.granted AND (o.expires_at IS NULL OR o.expires_at > $3)) AS roles,
		(SELECT array_agg(o.course_id) FROM learner o WHERE o.account_id = $1 AND o.enrolled_at IS NOT NULL AND o.completed_at <= $4) AS courses,
		e.ids AS deadline_ids, e.froms AS available_from, e.dues AS due, e.untils AS until
	FROM unnest($2::text[]) AS q (course_id)
	LEFT JOIN course k USING (course_id)
	LEFT JOIN learner l ON l.course_id = q.course_id AND l.account_id = $1
	LEFT JOIN cohort_member m ON m.course_id = q.course_id AND m.account_id = $1
	CROSS JOIN LATERAL (
		SELECT array_agg(lesson_id) AS ids, array_agg(completed_at) AS times FROM lesson_completion c
		WHERE c.course_id = q.course_id AND c.account_id = $1 AND c.completed_at <= $4) AS d
	CROSS JOIN LATERAL (
		SELECT array_agg(item_id) AS ids, array_agg(percent::text) AS percents, array_agg(passed) AS passed, array_agg(submitted_at) AS submitted
		FROM item_result i WHERE i.course_id = q.course_id AND i.account_id = $1) AS r
	CROSS JOIN LATERAL (
		SELECT array_agg(item_id) AS ids, array_agg(available_from) AS froms, array_agg(due) AS dues, array_agg(until) AS untils
		FROM effective_deadline f WHERE f.course_id = q.course_id AND f.account_id = $1) AS e`

// person is somebody in a course, ready for its rules.
type person struct {
	*factRow

	version  *version
	facts    *release.Facts
	doneAt   map[string]time.Time
	deadline map[string]int // place in DeadlineIDs, by item
	result   map[string]int // place in ResultIDs, by item
	all      bool           // everything is open to them
}

// endOfTime is after all that is kept.
var endOfTime = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)

// known is until when what was completed counts at a moment. For now and later
// it is all that is known: clocks of two processes differ a little.
func (s *Service) known(at time.Time) time.Time {
	if at.Before(s.now().Add(-time.Minute)) {
		return at
	}
	return endOfTime
}

// persons returns somebody in each of some courses, in their order; nil where the
// course was never published. It takes one statement, and one more for each
// version that is not in memory.
func (s *Service) persons(ctx context.Context, q pg.Querier, accountID string, at time.Time, courseIDs ...string) ([]*person, error) {
	rows, err := q.Query(ctx, factSQL, accountID, courseIDs, at, s.known(at))
	if err != nil {
		return nil, fmt.Errorf("read facts: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToAddrOfStructByName[factRow])
	if err != nil {
		return nil, fmt.Errorf("read facts: %w", err)
	}
	byCourse := make(map[string]*person, len(list))
	for _, row := range list {
		if byCourse[row.CourseID], err = s.person(ctx, q, accountID, row); err != nil {
			return nil, err
		}
	}
	out := make([]*person, len(courseIDs))
	for i, courseID := range courseIDs {
		out[i] = byCourse[courseID]
	}
	return out, nil
}

func (s *Service) person(ctx context.Context, q pg.Querier, accountID string, row *factRow) (*person, error) {
	if row.Number == 0 {
		return nil, nil //nolint:nilnil // never published
	}
	v, err := s.versionOf(ctx, q, row.CourseID, row.Number)
	if err != nil {
		return nil, err
	}
	if v == nil {
		// It was published anew, or pinned elsewhere, between two statements.
		err := q.QueryRow(ctx, `
			SELECT CASE WHEN l.pinned_version > 0 THEN l.pinned_version ELSE k.version END FROM course k
			LEFT JOIN learner l ON l.course_id = k.course_id AND l.account_id = $2 WHERE k.course_id = $1`, row.CourseID, accountID).Scan(&row.Number)
		if err == nil {
			v, err = s.versionOf(ctx, q, row.CourseID, row.Number)
		}
		if err != nil {
			return nil, fmt.Errorf("version: %w", err)
		}
		if v == nil {
			return nil, errBusy
		}
	}
	return newPerson(row, v)
}

// errBusy is told when versions of a course change faster than they are read.
var errBusy = &fault.Error{Kind: fault.Unavailable, Code: "course.busy", Message: "The course is being published. Try again.", Retry: time.Second}

func newPerson(row *factRow, v *version) (*person, error) {
	p := &person{
		factRow: row, version: v, doneAt: make(map[string]time.Time, len(row.DoneIDs)),
		deadline: indexOf(row.DeadlineIDs), result: indexOf(row.ResultIDs),
		facts: &release.Facts{
			Zone: v.zone, Cohort: row.CohortID, Completed: make(map[string]bool, len(row.DoneIDs)), Scores: map[string]release.Percent{},
			Groups: setOf(row.GroupIDs), Roles: setOf(row.Roles), Courses: setOf(row.Courses),
		},
	}
	if row.EnrolledAt != nil && !row.Ended {
		p.facts.EnrolledAt = row.EnrolledAt.UTC()
		p.facts.Roles["student"] = true
	}
	for i, item := range row.DoneIDs {
		p.doneAt[item], p.facts.Completed[item] = row.DoneTimes[i], true
	}
	v.roll(p.facts.Completed)
	for i, text := range row.Percents {
		if text != nil {
			percent, err := release.ParsePercent(*text)
			if err != nil {
				return nil, fmt.Errorf("score of %s: %w", row.ResultIDs[i], err)
			}
			p.facts.Scores[row.ResultIDs[i]] = percent
		}
	}
	return p, nil
}

func indexOf(list []string) map[string]int {
	out := make(map[string]int, len(list))
	for i, one := range list {
		out[one] = i
	}
	return out
}

func setOf(list []string) map[string]bool {
	out := make(map[string]bool, len(list)+1)
	for _, one := range list {
		out[one] = true
	}
	return out
}

// availableFrom returns from when on an item by itself can be worked on.
func (p *person) availableFrom(itemID string) *time.Time {
	if i, ok := p.deadline[itemID]; ok {
		return p.AvailableFrom[i]
	}
	return nil
}

// rule returns all that an item is under for this person: the rules, and from
// when on it and what it is in are available.
func (p *person) rule(it *versionItem) *release.Rule {
	r := it.chain
	if len(p.deadline) > 0 {
		for _, itemID := range it.path {
			if from := p.availableFrom(itemID); from != nil {
				r = release.Join(r, release.From(*from))
			}
		}
	}
	return r
}

// decide returns whether an item is open to this person.
func (p *person) decide(it *versionItem, at time.Time) release.Decision {
	if p.all {
		return release.Decision{Open: true}
	}
	return release.Eval(p.rule(it), p.facts, at)
}

// completed returns when an item was completed; of a module that is so by its
// parts, when the last of them was.
func (p *person) completed(it *versionItem) (time.Time, bool) {
	if !p.facts.Completed[it.GetId()] {
		return time.Time{}, false
	}
	at, own := p.doneAt[it.GetId()]
	if own {
		return at, true
	}
	for _, child := range it.children {
		if child.GetRequired() {
			if t, ok := p.completed(child); ok && t.After(at) {
				at = t
			}
		}
	}
	return at, true
}

// sentences says why something is closed. Items that are hidden from the person
// are not named.
func (p *person) sentences(missing []release.Reason, at time.Time) []string {
	var out []string
	title := func(itemID string) string {
		if it := p.version.byID[itemID]; it != nil && !p.decide(it, at).Hidden {
			return it.GetTitle()
		}
		return ""
	}
	seen := map[string]bool{}
	for _, reason := range missing {
		if text := reason.Sentence(title, p.version.zone); !seen[text] {
			seen[text] = true
			out = append(out, text)
		}
	}
	return out
}
