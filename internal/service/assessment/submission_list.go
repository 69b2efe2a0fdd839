package assessment

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/page"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

// ErrSubmissionAnonymous is told who wants to know of some who are not to be known.
var ErrSubmissionAnonymous = fault.New(fault.Conflict, "submission.anonymous", "Who has handed in is not told here until marks are posted, nor by a group or a cohort.")

// submissionServer answers about what was handed in to those who read and mark it.
type submissionServer struct {
	assessmentpb.UnimplementedSubmissionServiceServer

	service *Service
}

// entry is who hands in at an item, with what was handed in last.
type entry struct {
	Code         string // what their pseudonym is made of
	AccountID    string
	GroupID      string
	GroupName    string
	SubmissionID string
	Drafted      bool
	Returned     bool
	Number       int32
	Attempts     int32
	SubmittedAt  *time.Time
	Words        int32
	Files        int32
	Points       *string
	MaxPoints    *string
	Late         int64
	Similarity   *string

	people   []string // who they are
	revealed bool     // whether that may be told
	state    string
}

// pseudonymOf is the pseudonym that a code makes.
func pseudonymOf(code string) string { return "P-" + strings.ToUpper(code[:10]) }

// entriesSQL lists who hands in at the item $2 of the course $1 that shows the assignment
// $3: by themselves, or in the groups $5 (all where there are none) where $4 says so, and
// without groups as well where not $6. Codes are in no order that tells anything.
const entriesSQL = `
	WITH taking AS (
		SELECT group_id, name FROM course_group WHERE $4 AND course_id = $1 AND NOT deleted AND (cardinality($5::text[]) = 0 OR group_id = ANY ($5))
	), unit AS (
		SELECT e.account_id, ''::text COLLATE "C" AS group_id FROM enrollment e
		WHERE e.course_id = $1 AND e.live AND (NOT $4 OR NOT $6 AND NOT EXISTS (
			SELECT FROM group_member m JOIN taking t ON t.group_id = m.group_id WHERE m.course_id = $1 AND m.account_id = e.account_id AND m.member))
		UNION SELECT '', group_id FROM taking
		UNION SELECT account_id, group_id FROM submission WHERE item_id = $2 AND assignment_id = $3 AND last_number > 0
	), coded AS (
		SELECT u.account_id, u.group_id, encode(sha256(p.salt || convert_to(u.account_id || u.group_id, 'UTF8')), 'hex') COLLATE "C" AS code
		FROM unit u, placement p WHERE p.course_id = $1 AND p.item_id = $2
	)`

// entryColumns are those of what entriesSQL, or another list of units called coded, has.
const entryColumns = `
	SELECT c.code, c.account_id, c.group_id, coalesce(g.name, '') AS group_name, coalesce(s.id, '') AS submission_id, s.draft_at IS NOT NULL AS drafted,
		coalesce(s.returned, false) AS returned, coalesce(s.number, 0) AS number,
		(SELECT count(*)::int FROM submission_version a WHERE a.submission_id = s.id AND a.withdrawn_at IS NULL) AS attempts,
		v.submitted_at, coalesce(v.words, 0) AS words,
		(SELECT count(*)::int FROM submission_file f WHERE f.submission_id = s.id AND f.purpose = 'submission' AND f.state = 'kept') AS files,
		v.points::text AS points, v.max_points::text AS max_points, coalesce(l.late, 0) AS late,
		(SELECT k.percent::text FROM similarity_check k WHERE k.submission_id = s.id AND k.number = s.number AND k.state = 'done' ORDER BY k.id DESC LIMIT 1) AS similarity
	FROM coded c
		LEFT JOIN course_group g ON g.group_id = c.group_id AND c.group_id <> ''
		LEFT JOIN submission s ON s.assignment_id = $3 AND s.item_id = $2 AND s.account_id = c.account_id AND s.group_id = c.group_id
		LEFT JOIN submission_version v ON v.submission_id = s.id AND v.number = s.number
		LEFT JOIN LATERAL (SELECT min(m.late_seconds) AS late FROM submission_member m WHERE m.submission_id = s.id AND m.number = s.number) l ON true`

// entryStates are the conditions of the states that the rows themselves tell.
var entryStates = map[string]string{
	"":            `true`,
	workReturned:  `s.returned`,
	workMarked:    `NOT s.returned AND v.points IS NOT NULL`,
	"handed_in":   `NOT s.returned AND v.number IS NOT NULL AND v.points IS NULL`,
	workSubmitted: `NOT s.returned AND v.number IS NOT NULL AND v.points IS NULL AND coalesce(l.late, 0) = 0`,
	workLate:      `NOT s.returned AND v.number IS NOT NULL AND v.points IS NULL AND l.late > 0`,
	workNone:      `coalesce(s.number, 0) = 0 AND NOT coalesce(s.returned, false) AND s.draft_at IS NULL`,
	workDraft:     `coalesce(s.number, 0) = 0 AND NOT coalesce(s.returned, false) AND s.draft_at IS NOT NULL`,
	workMissing:   `coalesce(s.number, 0) = 0 AND NOT coalesce(s.returned, false)`,
}

// entriesOf are the parameters of entriesSQL for a version of an assignment.
func entriesOf(v *assignmentVersion, itemID string) []any {
	g := v.Settings.GetGroup()
	return []any{v.CourseID, itemID, v.AssignmentID, g != nil, append([]string{}, g.GetGroupIds()...), g.GetRequired()}
}

// listEntries returns those who hand in at an item, after a code and by their codes.
func (s *Service) listEntries(ctx context.Context, v *assignmentVersion, itemID, after string, limit int, where string, more ...any) ([]*entry, error) {
	args := append(entriesOf(v, itemID), append([]any{after, limit}, more...)...)
	rows, err := s.db.Query(ctx, entriesSQL+entryColumns+` WHERE c.code > $7 AND (`+where+`) ORDER BY c.code LIMIT $8`, args...)
	if err != nil {
		return nil, fmt.Errorf("list submissions: %w", err)
	}
	return collectEntries(rows)
}

func collectEntries(rows pgx.Rows) ([]*entry, error) {
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (*entry, error) {
		e := &entry{}
		return e, row.Scan(&e.Code, &e.AccountID, &e.GroupID, &e.GroupName, &e.SubmissionID, &e.Drafted, &e.Returned, &e.Number, &e.Attempts,
			&e.SubmittedAt, &e.Words, &e.Files, &e.Points, &e.MaxPoints, &e.Late, &e.Similarity)
	})
	if err != nil {
		return nil, fmt.Errorf("list submissions: %w", err)
	}
	return list, nil
}

// fillEntries adds who they are, whether that may be told, and how their work stands. Of
// those who have handed in nothing it asks learning by when it was due.
func (s *Service) fillEntries(ctx context.Context, v *assignmentVersion, itemID string, list []*entry) error {
	if err := s.fillPeople(ctx, v.CourseID, list); err != nil {
		return err
	}
	var all, waiting []string
	for _, e := range list {
		all = append(all, e.people...)
		if e.Number == 0 {
			waiting = append(waiting, e.people...)
		}
	}
	dues := map[string]*time.Time{}
	slices.Sort(waiting)
	for some := range slices.Chunk(slices.Compact(waiting), maxStandings) {
		standings, err := s.standings(ctx, v.CourseID, itemID, some)
		if err != nil {
			return err
		}
		for _, st := range standings {
			dues[st.accountID] = st.due
		}
	}
	posted := map[string]bool{}
	if v.Settings.GetAnonymous() {
		var err error
		if posted, err = postedFor(ctx, s.db, v.CourseID, itemID, all); err != nil {
			return err
		}
	}
	now := s.time()
	for _, e := range list {
		e.revealed = !v.Settings.GetAnonymous() || e.Points != nil && len(e.people) > 0 && !slices.ContainsFunc(e.people, func(a string) bool { return !posted[a] })
		w := &work{Returned: e.Returned}
		if e.Drafted {
			w.DraftAt = &now
		}
		e.state = workState(w, e.Number > 0, e.Points != nil, e.Late, latestDue(e.people, dues), now)
	}
	return nil
}

// latestDue is when something is due for the last of some people; nil where it never is
// for one of them.
func latestDue(people []string, dues map[string]*time.Time) *time.Time {
	var out *time.Time
	for _, a := range people {
		due := dues[a]
		if due == nil {
			return nil
		}
		if out == nil || due.After(*out) {
			out = due
		}
	}
	return out
}

// fillPeople adds who handed in together, or would now.
func (s *Service) fillPeople(ctx context.Context, courseID string, list []*entry) error {
	var submissions, groups []string
	var numbers []int32
	for _, e := range list {
		switch {
		case e.Number > 0:
			submissions, numbers = append(submissions, e.SubmissionID), append(numbers, e.Number)
		case e.GroupID != "":
			groups = append(groups, e.GroupID)
		default:
			e.people = []string{e.AccountID}
		}
	}
	rows, err := s.db.Query(ctx, `
		SELECT m.submission_id, m.account_id FROM unnest($1::text[], $2::int[]) AS q (submission_id, number)
			JOIN submission_member m ON m.submission_id = q.submission_id AND m.number = q.number
		UNION ALL
		SELECT m.group_id, m.account_id FROM group_member m LEFT JOIN enrollment e ON e.course_id = m.course_id AND e.account_id = m.account_id
		WHERE m.group_id = ANY ($3) AND m.course_id = $4 AND m.member AND coalesce(e.live, true)
		ORDER BY 1, 2`, submissions, numbers, groups, courseID)
	if err != nil {
		return fmt.Errorf("people of submissions: %w", err)
	}
	people := map[string][]string{}
	var of, account string
	if _, err := pgx.ForEachRow(rows, []any{&of, &account}, func() error {
		people[of] = append(people[of], account)
		return nil
	}); err != nil {
		return fmt.Errorf("people of submissions: %w", err)
	}
	for _, e := range list {
		switch {
		case e.Number > 0:
			e.people = people[e.SubmissionID]
		case e.GroupID != "":
			e.people = people[e.GroupID]
		}
	}
	return nil
}

// postedFor reports for some people whether they may see their grade in an item.
func postedFor(ctx context.Context, q pg.Querier, courseID, itemID string, accounts []string) (map[string]bool, error) {
	rows, err := q.Query(ctx, `SELECT a, `+postedSQL("$1", "$2", "a")+` FROM unnest($3::text[]) AS a`, courseID, itemID, accounts)
	if err != nil {
		return nil, fmt.Errorf("read postings: %w", err)
	}
	return readPosted(rows)
}

// namesOf returns what people are called.
func namesOf(ctx context.Context, q pg.Querier, accounts []string) (map[string]string, error) {
	rows, err := q.Query(ctx, `SELECT account_id, name FROM person WHERE account_id = ANY ($1)`, accounts)
	if err != nil {
		return nil, fmt.Errorf("names of people: %w", err)
	}
	out := map[string]string{}
	var account, name string
	if _, err := pgx.ForEachRow(rows, []any{&account, &name}, func() error {
		out[account] = name
		return nil
	}); err != nil {
		return nil, fmt.Errorf("names of people: %w", err)
	}
	return out, nil
}

// message tells an entry, without what would say who it is where that is not to be told.
func (e *entry) message(names map[string]string) *assessmentpb.SubmissionEntry {
	out := &assessmentpb.SubmissionEntry{
		SubmissionId: e.SubmissionID, Participant: pseudonymOf(e.Code), Anonymous: !e.revealed, State: e.state, Number: e.Number, Attempts: e.Attempts,
		Words: e.Words, FileCount: e.Files,
	}
	if e.Number == 0 && !e.Returned && !e.Drafted {
		out.SubmissionId = "" // nothing of it is there to be read
	}
	if e.Points != nil {
		out.Points, out.PointsOf = trimmed(*e.Points), trimmed(*e.MaxPoints)
	}
	if e.Similarity != nil {
		out.SimilarityPercent = trimmed(*e.Similarity)
	}
	if !e.revealed {
		return out
	}
	out.GroupId, out.GroupName, out.SubmittedAt, out.LateSeconds = e.GroupID, e.GroupName, stampOf(e.SubmittedAt), e.Late
	for _, account := range e.people {
		out.Accounts = append(out.Accounts, &assessmentpb.Participant{AccountId: account, Name: names[account]})
	}
	return out
}

// entryMessages tells entries with the names of those who may be known.
func (s *Service) entryMessages(ctx context.Context, list []*entry) ([]*assessmentpb.SubmissionEntry, error) {
	var known []string
	for _, e := range list {
		if e.revealed {
			known = append(known, e.people...)
		}
	}
	names, err := namesOf(ctx, s.db, known)
	if err != nil {
		return nil, err
	}
	out := make([]*assessmentpb.SubmissionEntry, len(list))
	for i, e := range list {
		out[i] = e.message(names)
	}
	return out, nil
}

// ListSubmissions implements assessmentpb.SubmissionServiceServer.
func (r *submissionServer) ListSubmissions(ctx context.Context, req *assessmentpb.ListSubmissionsRequest) (*assessmentpb.ListSubmissionsResponse, error) {
	s := r.service
	after, err := codeAfter(req.GetCursor())
	if err != nil {
		return nil, err
	}
	v, err := s.assignmentAt(ctx, s.db, req.GetCourseId(), req.GetItemId())
	if err != nil {
		return nil, err
	}
	if v.Settings.GetAnonymous() && (req.GetGroupId() != "" || req.GetCohortId() != "") {
		return nil, ErrSubmissionAnonymous
	}
	size := page.Size(req.GetPageSize())
	where := entryStates[req.GetState()] + `
		AND ($9 = '' OR c.group_id = $9 OR EXISTS (SELECT FROM group_member m WHERE m.group_id = $9 AND m.course_id = $1 AND m.account_id = c.account_id AND m.member))
		AND ($10 = '' OR EXISTS (SELECT FROM cohort_member k WHERE k.course_id = $1 AND k.cohort_id = $10 AND (k.account_id = c.account_id
			OR EXISTS (SELECT FROM group_member m WHERE m.group_id = c.group_id AND m.account_id = k.account_id AND m.member))))`
	list, err := s.listEntries(ctx, v, req.GetItemId(), after, size+1, where, req.GetGroupId(), req.GetCohortId())
	if err != nil {
		return nil, err
	}
	out := &assessmentpb.ListSubmissionsResponse{}
	if len(list) > size {
		list = list[:size]
		out.NextCursor = page.Cursor(list[size-1].Code)
	}
	if err := s.fillEntries(ctx, v, req.GetItemId(), list); err != nil {
		return nil, err
	}
	if state := req.GetState(); state == workNone || state == workDraft || state == workMissing {
		list = slices.DeleteFunc(list, func(e *entry) bool { return e.state != state })
	}
	out.Items, err = s.entryMessages(ctx, list)
	return out, err
}

// codeAfter reads a cursor of those who hand in.
func codeAfter(cursor string) (string, error) {
	values, err := page.Values(cursor, 1)
	if err != nil || values == nil {
		return "", err
	}
	if len(values[0]) != 64 || strings.Trim(values[0], "0123456789abcdef") != "" {
		return "", page.ErrCursor
	}
	return values[0], nil
}
