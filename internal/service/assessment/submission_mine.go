package assessment

import (
	"context"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/page"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

// mySubmissionServer answers about assignments to those who hand in.
type mySubmissionServer struct {
	assessmentpb.UnimplementedMySubmissionServiceServer

	service *Service
}

// myWork is an assignment at an item as it stands for somebody.
type myWork struct {
	itemID   string
	version  *assignmentVersion
	standing *standing
	unit     unit
	refused  *fault.Error // why they hand in as nobody
	work     *work
	versions []handed            // newest first
	late     map[int32]int64     // by number, of those that are theirs
	shown    map[int32]markShown // by number
	mark     assignmentMarked    // what counts
	posted   bool
}

// assignmentMarked is what counts of what somebody handed in at an item.
type assignmentMarked struct {
	ItemID       string
	AssignmentID string
	State        string
	Points       string
	MaxPoints    string
}

// myWorks returns assignments of a course as they stand for the caller, in the order of
// their items and without those that are hidden. It takes the same few statements and
// calls for any number of them.
func (s *Service) myWorks(ctx context.Context, courseID string, items []string) ([]*myWork, error) {
	rows, err := s.db.Query(ctx, `
		SELECT p.item_id, a.id AS assignment_id, a.version
		FROM placement p JOIN assignment a ON a.id = p.ref AND a.course_id = p.course_id AND a.deleted_at IS NULL AND a.version > 0
		WHERE p.course_id = $1 AND p.kind = 'assignment' AND p.item_id = ANY ($2) ORDER BY p.item_id`, courseID, items)
	if err != nil {
		return nil, fmt.Errorf("assignments of course: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[shownAssignment])
	if err != nil || len(list) == 0 {
		return nil, err
	}
	account := auth.From(ctx).Account
	standing, err := s.standingAt(ctx, courseID, account, items)
	if err != nil {
		return nil, err
	}
	groups, err := membershipsOf(ctx, s.db, courseID, account)
	if err != nil {
		return nil, err
	}
	var out []*myWork
	for _, one := range list {
		st := standing[one.ItemID]
		if st == nil || st.state == "hidden" {
			continue
		}
		m := &myWork{itemID: one.ItemID, standing: st}
		if m.version, err = s.assignmentVersion(ctx, s.db, one.AssignmentID, one.Version); err != nil {
			return nil, err
		}
		m.unit, m.refused = unitOf(m.version.Settings, account, groups)
		out = append(out, m)
	}
	return out, s.fillWorks(ctx, courseID, account, items, groups, out)
}

// fillWorks adds what was drafted, handed in and marked.
func (s *Service) fillWorks(ctx context.Context, courseID, account string, items []string, groups []membership, list []*myWork) error {
	ids := make([]string, len(groups))
	for i, g := range groups {
		ids[i] = g.GroupID
	}
	rows, err := s.db.Query(ctx, `
		SELECT `+workColumns+` FROM submission WHERE item_id = ANY ($1) AND (account_id = $2 OR group_id = ANY ($3))
			OR id IN (SELECT submission_id FROM submission_member WHERE item_id = ANY ($1) AND account_id = $2)
		ORDER BY updated_at DESC`, items, account, ids)
	if err != nil {
		return fmt.Errorf("read submissions: %w", err)
	}
	works, err := pgx.CollectRows(rows, pgx.RowToAddrOfStructByName[work])
	if err != nil {
		return fmt.Errorf("read submissions: %w", err)
	}
	var found []string
	for _, m := range list {
		for _, w := range works {
			if w.ItemID != m.itemID || w.AssignmentID != m.version.AssignmentID {
				continue
			}
			if m.refused == nil && (w.AccountID != m.unit.accountID || w.GroupID != m.unit.groupID) {
				continue // of another group, which they have left
			}
			if m.refused != nil && w.AccountID == "" && slices.Contains(ids, w.GroupID) {
				continue // they are in several, and hand in for none of them
			}
			m.work = w
			found = append(found, w.ID)
			break
		}
	}
	versions, err := handedIn(ctx, s.db, found)
	if err != nil {
		return err
	}
	late, err := lateOf(ctx, s.db, found, account)
	if err != nil {
		return err
	}
	shown, err := shownVersions(ctx, s.db, found, account)
	if err != nil {
		return err
	}
	marks, err := assignmentMarksOf(ctx, s.db, courseID, items, account)
	if err != nil {
		return err
	}
	posted, err := postedTo(ctx, s.db, courseID, items, account)
	if err != nil {
		return err
	}
	for _, m := range list {
		m.mark, m.posted = marks[m.itemID], posted[m.itemID]
		if m.work != nil {
			m.versions, m.late, m.shown = versions[m.work.ID], late[m.work.ID], shown[m.work.ID]
		}
	}
	return nil
}

// lateOf returns how late versions of submissions are for somebody, by submission and
// number; versions that are not theirs are left out.
func lateOf(ctx context.Context, q pg.Querier, submissions []string, accountID string) (map[string]map[int32]int64, error) {
	rows, err := q.Query(ctx, `SELECT submission_id, number, late_seconds FROM submission_member WHERE submission_id = ANY ($1) AND account_id = $2`, submissions, accountID)
	if err != nil {
		return nil, fmt.Errorf("lateness of submissions: %w", err)
	}
	out := map[string]map[int32]int64{}
	var (
		submissionID string
		number       int32
		late         int64
	)
	if _, err := pgx.ForEachRow(rows, []any{&submissionID, &number, &late}, func() error {
		if out[submissionID] == nil {
			out[submissionID] = map[int32]int64{}
		}
		out[submissionID][number] = late
		return nil
	}); err != nil {
		return nil, fmt.Errorf("lateness of submissions: %w", err)
	}
	return out, nil
}

func assignmentMarksOf(ctx context.Context, q pg.Querier, courseID string, items []string, accountID string) (map[string]assignmentMarked, error) {
	rows, err := q.Query(ctx, `
		SELECT item_id, assignment_id, state, points, max_points FROM assignment_mark WHERE course_id = $1 AND item_id = ANY ($2) AND account_id = $3`, courseID, items, accountID)
	if err != nil {
		return nil, fmt.Errorf("read my marks: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[assignmentMarked])
	if err != nil {
		return nil, fmt.Errorf("read my marks: %w", err)
	}
	out := map[string]assignmentMarked{}
	for _, m := range list {
		out[m.ItemID] = m
	}
	return out, nil
}

// mine reports whether a version is the caller's own: what a group handed in before they
// came into it is not, nor is its mark.
func (m *myWork) mine(v handed) bool {
	_, ok := m.late[v.Number]
	return ok
}

// latest returns what counts as handed in last, nil for nothing.
func (m *myWork) latest() *handed {
	for i := range m.versions {
		if m.versions[i].WithdrawnAt == nil {
			return &m.versions[i]
		}
	}
	return nil
}

// own are the settings as those who hand in may know them.
func ownSettings(settings *assessmentpb.AssignmentSettings) *assessmentpb.AssignmentSettings {
	out := proto.CloneOf(settings)
	out.DoubleMarking, out.TwoMarkers, out.Similarity = false, nil, false
	if out.GetGroup() != nil {
		out.Group.GroupIds = nil
	}
	return out
}

// message tells an assignment to who hands in.
func (s *Service) myAssignment(m *myWork) *assessmentpb.MyAssignment {
	now, st, settings := s.time(), m.standing, m.version.Settings
	used := len(counted(m.versions))
	out := &assessmentpb.MyAssignment{
		CourseId: m.version.CourseID, ItemId: m.itemID, AssignmentId: m.version.AssignmentID, Title: m.version.Title, Settings: ownSettings(settings),
		OpensAt: stampOf(st.opensAt), Due: stampOf(st.due), ClosesAt: stampOf(closesFor(settings, st)),
		Attempts: attemptsFor(settings, st, m.work), AttemptsUsed: int32(used), GroupId: m.unit.groupID, GroupName: m.unit.groupName, //nolint:gosec // at most some hundred
	}
	latest := m.latest()
	marked, late := false, int64(0)
	if latest != nil {
		late = m.late[latest.Number]
		marked = m.posted && m.mine(*latest) && latest.Points != nil
	}
	out.State = workState(m.work, latest != nil, marked, late, st.due, now)
	if out.GetState() == workReturned {
		out.ReturnedNote = m.work.ReturnedNote
	}
	refused := m.refused
	if refused == nil {
		refused = refuseSubmission(settings, st, m.work, used, now)
	}
	if refused != nil {
		out.Refusal = refusalOf(refused)
	} else {
		out.CanSubmit = true
	}
	out.CanWithdraw = m.refused == nil && latest != nil && withdrawable(settings, st, *latest, m.shown[latest.Number], now)
	if m.posted && m.mark.AssignmentID == m.version.AssignmentID && m.mark.State == workMarked {
		out.Points, out.PointsOf = m.mark.Points, m.mark.MaxPoints
	}
	return out
}

// ListMyAssignments implements assessmentpb.MySubmissionServiceServer.
func (r *mySubmissionServer) ListMyAssignments(ctx context.Context, req *assessmentpb.ListMyAssignmentsRequest) (*assessmentpb.ListMyAssignmentsResponse, error) {
	s := r.service
	values, err := page.Values(req.GetCursor(), 1)
	if err != nil {
		return nil, err
	}
	after := ""
	if values != nil {
		if after = values[0]; !id.Valid("activity", after) {
			return nil, page.ErrCursor
		}
	}
	size := page.Size(req.GetPageSize())
	// Which of them are hidden is known only once they are asked about: the page is of
	// those that the course shows.
	rows, err := s.db.Query(ctx, `
		SELECT item_id FROM placement WHERE course_id = $1 AND kind = 'assignment' AND present AND ref <> '' AND item_id > $2 ORDER BY item_id LIMIT $3`,
		req.GetCourseId(), after, size+1)
	if err != nil {
		return nil, fmt.Errorf("list assignments of course: %w", err)
	}
	items, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("list assignments of course: %w", err)
	}
	out := &assessmentpb.ListMyAssignmentsResponse{}
	if len(items) > size {
		items = items[:size]
		out.NextCursor = page.Cursor(items[size-1])
	}
	list, err := s.myWorks(ctx, req.GetCourseId(), items)
	if err != nil {
		return nil, err
	}
	for _, m := range list {
		one := s.myAssignment(m)
		one.Settings.Instructions, one.Settings.Statement = "", ""
		out.Items = append(out.Items, one)
	}
	return out, nil
}

// GetMyAssignment implements assessmentpb.MySubmissionServiceServer.
func (r *mySubmissionServer) GetMyAssignment(ctx context.Context, req *assessmentpb.GetMyAssignmentRequest) (*assessmentpb.MyAssignment, error) {
	return r.service.wholeAssignment(ctx, req.GetCourseId(), req.GetItemId())
}

// myWorkAt is [Service.myWorks] of one item.
func (s *Service) myWorkAt(ctx context.Context, courseID, itemID string) (*myWork, error) {
	list, err := s.myWorks(ctx, courseID, []string{itemID})
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, ErrAssignmentNotFound
	}
	return list[0], nil
}

// wholeAssignment returns an assignment with the caller's draft and what they handed in.
func (s *Service) wholeAssignment(ctx context.Context, courseID, itemID string) (*assessmentpb.MyAssignment, error) {
	m, err := s.myWorkAt(ctx, courseID, itemID)
	if err != nil {
		return nil, err
	}
	out := s.myAssignment(m)
	rubric, err := rubricFor(ctx, s.db, rubricTarget{id: m.version.AssignmentID})
	if err != nil {
		return nil, err
	}
	if out.Rubric = shownRubric(rubric); m.work == nil {
		return out, nil
	}
	if m.refused == nil {
		if out.Draft, err = s.draftMessage(ctx, m.work, shownTo{account: auth.From(ctx).Account}); err != nil {
			return nil, err
		}
	}
	marks, err := s.marksOfVersions(ctx, m.work.ID, m.versions)
	if err != nil {
		return nil, err
	}
	for _, v := range m.versions {
		if m.mine(v) || m.refused == nil {
			out.Submissions = append(out.Submissions, m.submission(v, marks[v.Number], false))
		}
	}
	return out, nil
}

// submission tells a version to one of those who handed it in, without its content. The
// mark is shown once it is posted, and not where the version was taken back: it counts for
// nothing.
func (m *myWork) submission(v handed, mark *assessmentpb.SubmissionMark, whole bool) *assessmentpb.MySubmission {
	out := &assessmentpb.MySubmission{
		Number: v.Number, AssignmentVersion: v.AssignmentVersion, SubmittedAt: timestamppb.New(v.SubmittedAt), SubmittedBy: v.SubmittedBy,
		LateSeconds: m.late[v.Number], WithdrawnAt: stampOf(v.WithdrawnAt), Words: v.Words, Hash: hex.EncodeToString(v.Hash),
	}
	if m.posted && m.mine(v) && v.WithdrawnAt == nil && mark != nil {
		out.Mark = proto.CloneOf(mark)
		out.Mark.MarkedBy, out.Mark.Revision, out.Mark.Source = "", 0, ""
		if !whole {
			out.Mark.Comments, out.Mark.CommentHtml, out.Mark.Rubric = nil, "", nil
		}
	}
	return out
}

// GetMySubmission implements assessmentpb.MySubmissionServiceServer.
func (r *mySubmissionServer) GetMySubmission(ctx context.Context, req *assessmentpb.GetMySubmissionRequest) (*assessmentpb.MySubmission, error) {
	m, err := r.service.myWorkAt(ctx, req.GetCourseId(), req.GetItemId())
	if err != nil {
		return nil, err
	}
	return r.service.wholeSubmission(ctx, m, req.GetNumber())
}

// wholeSubmission returns a version with its content.
func (s *Service) wholeSubmission(ctx context.Context, m *myWork, number int32) (*assessmentpb.MySubmission, error) {
	i := slices.IndexFunc(m.versions, func(v handed) bool { return v.Number == number })
	if i < 0 || !m.mine(m.versions[i]) && m.refused != nil {
		return nil, ErrSubmissionNothing
	}
	v := m.versions[i]
	marks, err := s.marksOfVersions(ctx, m.work.ID, []handed{v})
	if err != nil {
		return nil, err
	}
	out := m.submission(v, marks[number], true)
	feedback := 0
	if m.posted && m.mine(v) && v.WithdrawnAt == nil {
		feedback = int(number)
	}
	shown, err := s.showVersion(ctx, m.work, v, feedback, shownTo{account: auth.From(ctx).Account})
	if err != nil {
		return nil, err
	}
	out.Content, out.TextHtml, out.Files, out.FeedbackFiles = shown.content, shown.html, shown.files, shown.feedback
	out.AccountIds, err = membersOfVersion(ctx, s.db, m.work.ID, number)
	return out, err
}

// membersOfVersion returns of whom a version is.
func membersOfVersion(ctx context.Context, q pg.Querier, submissionID string, number int32) ([]string, error) {
	rows, err := q.Query(ctx, `SELECT account_id FROM submission_member WHERE submission_id = $1 AND number = $2 ORDER BY account_id`, submissionID, number)
	if err != nil {
		return nil, fmt.Errorf("members of version: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("members of version: %w", err)
	}
	return list, nil
}

// draftMessage tells a draft, nil for none.
func (s *Service) draftMessage(ctx context.Context, w *work, to shownTo) (*assessmentpb.SubmissionDraft, error) {
	content, err := w.content()
	if err != nil || content == nil {
		return nil, err
	}
	out := draftOf(w, content)
	out.Files, err = s.showFiles(ctx, w.CourseID, w.ID, content.GetMediaIds(), to)
	return out, err
}

// draftOf tells a draft without its files.
func draftOf(w *work, content *assessmentpb.SubmissionContent) *assessmentpb.SubmissionDraft {
	return &assessmentpb.SubmissionDraft{
		Content: content, Words: int32(wordCount(content.GetText())), SavedAt: stampOf(w.DraftAt), SavedBy: w.DraftBy, Etag: strconv.FormatInt(w.DraftRevision, 10), //nolint:gosec // at most 200,000
	}
}

// refusalOf tells why something is refused.
func refusalOf(refused *fault.Error) *assessmentpb.StartRefusal {
	out := &assessmentpb.StartRefusal{Code: refused.Code, Message: refused.Message}
	for _, f := range refused.Fields {
		if f.Path == "item_id" {
			out.Reasons = append(out.Reasons, f.Hint)
		} else if at, ok := moment(f.Hint); ok {
			out.OpensAt = at
		}
	}
	return out
}
