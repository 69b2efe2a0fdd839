package assessment

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

// Errors of handing in.
var (
	ErrSubmissionLocked    = fault.New(fault.Forbidden, "submission.locked", "This assignment is not open to you yet.")
	ErrSubmissionClosed    = fault.New(fault.Conflict, "submission.closed", "Nothing is taken any more for this assignment.")
	ErrSubmissionNoneLeft  = fault.New(fault.Conflict, "submission.none_left", "You have handed in as often as you may.")
	ErrSubmissionNoGroup   = fault.New(fault.Conflict, "submission.no_group", "Groups hand in together here, and you are in none of them.")
	ErrSubmissionGroups    = fault.New(fault.Conflict, "submission.several_groups", "Groups hand in together here, and you are in more than one of them.")
	ErrSubmissionEnrolling = &fault.Error{
		Kind: fault.Unavailable, Code: "submission.enrolling", Message: "You have only just been enrolled, and this assignment is about to know. Try again.", Retry: time.Second,
	}
	ErrSubmissionNothing   = fault.New(fault.NotFound, "submission.nothing", "Nothing was handed in.")
	ErrSubmissionNotFound  = fault.New(fault.NotFound, "submission.not_found", "The course has no such submission.")
	ErrSubmissionNoDraft   = fault.New(fault.NotFound, "submission.no_draft", "There is no draft.")
	ErrNothingToSubmit     = fault.New(fault.Conflict, "submission.no_draft", "There is no draft to hand in.")
	ErrNotWithdrawable     = fault.New(fault.Conflict, "submission.not_withdrawable", "This can't be taken back any more.")
	ErrSubmissionWithdrawn = fault.New(fault.Conflict, "submission.withdrawn", "This was taken back by who handed it in.")
	ErrStatementRequired   = &fault.Error{
		Kind: fault.Invalid, Code: "submission.statement_required", Message: "What the assignment asks to be stated has to be stated.",
		Fields: []fault.Field{{Path: "statement_accepted", Code: "submission.statement_required", Hint: "Show the statement, and send true when it is accepted."}},
	}
	errUnitMoved = fmt.Errorf("who hands in has changed meanwhile")
)

// States of what is handed in.
const (
	workNone      = "none"
	workDraft     = "draft"
	workSubmitted = "submitted"
	workLate      = "late"
	workMissing   = "missing"
	workMarked    = "marked"
	workReturned  = "returned"
)

// shownAssignment is an assignment that a course shows at an item.
type shownAssignment struct {
	ItemID       string
	AssignmentID string
	Version      int32
}

// assignmentAt returns what a course shows at an item, in the version that is handed in
// to.
func (s *Service) assignmentAt(ctx context.Context, q pg.Querier, courseID, itemID string) (*assignmentVersion, error) {
	var one shownAssignment
	err := q.QueryRow(ctx, `
		SELECT p.item_id, a.id, a.version FROM placement p JOIN assignment a ON a.id = p.ref AND a.course_id = p.course_id AND a.deleted_at IS NULL AND a.version > 0
		WHERE p.course_id = $1 AND p.item_id = $2 AND p.kind = 'assignment'`, courseID, itemID).Scan(&one.ItemID, &one.AssignmentID, &one.Version)
	if pg.NoRows(err) {
		return nil, ErrAssignmentNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("assignment at item: %w", err)
	}
	return s.assignmentVersion(ctx, q, one.AssignmentID, one.Version)
}

// unit is who hands in together: an account, or a group.
type unit struct {
	accountID, groupID string // one of them
	groupName          string
}

// membership is somebody's place in a group.
type membership struct {
	GroupID string
	Name    string
}

// membershipsOf returns the groups of a course that somebody is in.
func membershipsOf(ctx context.Context, q pg.Querier, courseID, accountID string) ([]membership, error) {
	rows, err := q.Query(ctx, `
		SELECT g.group_id, g.name FROM group_member m JOIN course_group g ON g.group_id = m.group_id AND NOT g.deleted
		WHERE m.course_id = $1 AND m.account_id = $2 AND m.member ORDER BY g.group_id`, courseID, accountID)
	if err != nil {
		return nil, fmt.Errorf("groups of account: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[membership])
	if err != nil {
		return nil, fmt.Errorf("groups of account: %w", err)
	}
	return list, nil
}

// unitOf returns as whom somebody hands in who is in some groups. It is pure.
func unitOf(settings *assessmentpb.AssignmentSettings, accountID string, groups []membership) (unit, *fault.Error) {
	work := settings.GetGroup()
	if work == nil {
		return unit{accountID: accountID}, nil
	}
	var in []membership
	for _, g := range groups {
		if len(work.GetGroupIds()) == 0 || slices.Contains(work.GetGroupIds(), g.GroupID) {
			in = append(in, g)
		}
	}
	switch {
	case len(in) == 1:
		return unit{groupID: in[0].GroupID, groupName: in[0].Name}, nil
	case len(in) > 1:
		return unit{}, ErrSubmissionGroups
	case work.GetRequired():
		return unit{}, ErrSubmissionNoGroup
	default:
		return unit{accountID: accountID}, nil
	}
}

// unitNow returns as whom somebody hands in now.
func unitNow(ctx context.Context, q pg.Querier, v *assignmentVersion, accountID string) (unit, error) {
	if v.Settings.GetGroup() == nil {
		return unit{accountID: accountID}, nil
	}
	groups, err := membershipsOf(ctx, q, v.CourseID, accountID)
	if err != nil {
		return unit{}, err
	}
	u, refused := unitOf(v.Settings, accountID, groups)
	if refused != nil {
		return unit{}, refused
	}
	return u, nil
}

// members returns who hands in together now, in the order of their ids: those in the
// group who take the course.
func (u unit) members(ctx context.Context, q pg.Querier, courseID string) ([]string, error) {
	if u.groupID == "" {
		return []string{u.accountID}, nil
	}
	rows, err := q.Query(ctx, `
		SELECT m.account_id FROM group_member m LEFT JOIN enrollment e ON e.course_id = m.course_id AND e.account_id = m.account_id
		WHERE m.group_id = $1 AND m.course_id = $2 AND m.member AND coalesce(e.live, true) ORDER BY m.account_id`, u.groupID, courseID)
	if err != nil {
		return nil, fmt.Errorf("members of group: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("members of group: %w", err)
	}
	return list, nil
}

// work is the row of what a unit drafts and hands in.
type work struct {
	ID            string
	CourseID      string
	ItemID        string
	AssignmentID  string
	AccountID     string
	GroupID       string
	Draft         []byte
	DraftRevision int64
	DraftBy       string
	DraftAt       *time.Time
	LastNumber    int32
	Number        int32
	Returns       int32
	Returned      bool
	ReturnedNote  string
}

const workColumns = `id, course_id, item_id, assignment_id, account_id, group_id, draft, draft_revision, draft_by, draft_at, last_number, number, returns, returned, returned_note`

// readWork returns what a statement finds, nil for nothing.
func readWork(ctx context.Context, q pg.Querier, where string, args ...any) (*work, error) {
	rows, err := q.Query(ctx, `SELECT `+workColumns+` FROM submission WHERE `+where, args...)
	if err != nil {
		return nil, fmt.Errorf("read submission: %w", err)
	}
	w, err := pgx.CollectExactlyOneRow(rows, pgx.RowToAddrOfStructByName[work])
	if pg.NoRows(err) {
		return nil, nil //nolint:nilnil // nothing was drafted yet
	}
	if err != nil {
		return nil, fmt.Errorf("read submission: %w", err)
	}
	return w, nil
}

const workOfUnit = `assignment_id = $1 AND item_id = $2 AND account_id = $3 AND group_id = $4`

// workOf returns what a unit drafts and hands in at an item, nil for nothing yet.
func workOf(ctx context.Context, q pg.Querier, assignmentID, itemID string, u unit) (*work, error) {
	return readWork(ctx, q, workOfUnit, assignmentID, itemID, u.accountID, u.groupID)
}

// content returns the draft, nil for none.
func (w *work) content() (*assessmentpb.SubmissionContent, error) {
	if w == nil || w.DraftAt == nil {
		return nil, nil //nolint:nilnil // there is none
	}
	return contentOf(w.Draft)
}

func contentOf(text []byte) (*assessmentpb.SubmissionContent, error) {
	out := &assessmentpb.SubmissionContent{}
	if err := proto.Unmarshal(text, out); err != nil {
		return nil, fmt.Errorf("content of submission: %w", err)
	}
	return out, nil
}

// handed is a version of what was handed in, without its content.
type handed struct {
	SubmissionID      string
	Number            int32
	AssignmentVersion int32
	Words             int32
	Hash              []byte
	StatementAccepted bool
	SubmittedBy       string
	SubmittedAt       time.Time
	WithdrawnAt       *time.Time
	MarkRevision      int64
	Points            *string
	MaxPoints         string
	MarkedBy          string
	MarkedAt          *time.Time
}

const handedColumns = `v.submission_id, v.number, v.assignment_version, v.words, v.hash, v.statement_accepted, v.submitted_by, v.submitted_at, v.withdrawn_at,
	v.mark_revision, v.points::text AS points, v.max_points::text AS max_points, v.marked_by, v.marked_at`

// handedIn returns the versions of some submissions, newest first.
func handedIn(ctx context.Context, q pg.Querier, submissions []string) (map[string][]handed, error) {
	rows, err := q.Query(ctx, `
		SELECT `+handedColumns+` FROM submission_version v WHERE v.submission_id = ANY ($1) ORDER BY v.submission_id, v.number DESC`, submissions)
	if err != nil {
		return nil, fmt.Errorf("versions of submissions: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[handed])
	if err != nil {
		return nil, fmt.Errorf("versions of submissions: %w", err)
	}
	out := map[string][]handed{}
	for _, v := range list {
		out[v.SubmissionID] = append(out[v.SubmissionID], v)
	}
	return out, nil
}

// counted returns those that were not taken back.
func counted(list []handed) []handed {
	var out []handed
	for _, v := range list {
		if v.WithdrawnAt == nil {
			out = append(out, v)
		}
	}
	return out
}

// workState returns how work stands. Of the mark only the caller knows whether it is to
// be told. It is pure.
func workState(w *work, submitted, marked bool, late int64, due *time.Time, now time.Time) string {
	switch {
	case w != nil && w.Returned:
		return workReturned
	case submitted && marked:
		return workMarked
	case submitted && late > 0:
		return workLate
	case submitted:
		return workSubmitted
	case due != nil && now.After(*due):
		return workMissing
	case w != nil && w.DraftAt != nil:
		return workDraft
	default:
		return workNone
	}
}

// closesFor returns until when something is taken from somebody, nil for no end.
func closesFor(settings *assessmentpb.AssignmentSettings, st *standing) *time.Time {
	closes := st.closesAt
	if st.due == nil {
		return closes
	}
	switch settings.GetLate() {
	case "refuse":
		closes = earlier(closes, st.due)
	case "within":
		end := st.due.Add(time.Duration(settings.GetLateSeconds()) * time.Second)
		closes = earlier(closes, &end)
	}
	return closes
}

// attemptsFor returns how often somebody may hand in, 0 for no bound.
func attemptsFor(settings *assessmentpb.AssignmentSettings, st *standing, w *work) int32 {
	if settings.GetAttempts() == 0 {
		return 0
	}
	most := settings.GetAttempts() + st.extraAttempts
	if w != nil {
		most += w.Returns
	}
	return most
}

// refuseSubmission returns why somebody may not hand in at a moment, nil where they may.
// What came at the very moment it is due or closes is in time. It is pure.
func refuseSubmission(settings *assessmentpb.AssignmentSettings, st *standing, w *work, used int, now time.Time) *fault.Error {
	if !st.enrolled {
		return ErrSubmissionEnrolling
	}
	if st.state == "hidden" || st.state == "absent" {
		return ErrAssignmentNotFound
	}
	if closes := closesFor(settings, st); closes != nil && now.After(*closes) {
		return refusal(ErrSubmissionClosed, nil, "It closed on "+said(*closes)+".")
	}
	if st.state != "open" {
		return refusal(ErrSubmissionLocked, st.opensAt, st.reasons...)
	}
	if most := attemptsFor(settings, st, w); most > 0 && used >= int(most) {
		return refusal(ErrSubmissionNoneLeft, nil, fmt.Sprintf("You may hand in %d times.", most))
	}
	return nil
}

// lateBy returns how long after it was due something was handed in, in seconds that have
// begun; 0 for in time.
func lateBy(due *time.Time, at time.Time) int64 {
	return (&finished{due: due, over: at}).late()
}
