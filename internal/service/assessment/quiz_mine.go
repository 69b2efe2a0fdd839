package assessment

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/page"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
	"github.com/stoa-lms/stoa/internal/service/learning/learningpb"
)

// myQuizServer answers about quizzes to those who take them.
type myQuizServer struct {
	assessmentpb.UnimplementedMyQuizServiceServer

	service *Service
}

// shownQuiz is a quiz that a course shows at an item.
type shownQuiz struct {
	ItemID       string
	QuizID       string
	Version      int32
	PasswordHash string
}

// GetMyQuiz implements assessmentpb.MyQuizServiceServer.
func (r *myQuizServer) GetMyQuiz(ctx context.Context, req *assessmentpb.GetMyQuizRequest) (*assessmentpb.MyQuiz, error) {
	list, err := r.service.myQuizzes(ctx, req.GetCourseId(), `p.item_id = $2`, req.GetItemId())
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, ErrQuizNotFound
	}
	return list[0], nil
}

// ListMyQuizzes implements assessmentpb.MyQuizServiceServer.
func (r *myQuizServer) ListMyQuizzes(ctx context.Context, req *assessmentpb.ListMyQuizzesRequest) (*assessmentpb.ListMyQuizzesResponse, error) {
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
	out := &assessmentpb.ListMyQuizzesResponse{}
	// Which of them are hidden is known only once they are asked about: the page is of
	// those that the course shows.
	rows, err := r.service.db.Query(ctx, `
		SELECT item_id FROM placement WHERE course_id = $1 AND kind = 'quiz' AND present AND ref <> '' AND item_id > $2 ORDER BY item_id LIMIT $3`,
		req.GetCourseId(), after, size+1)
	if err != nil {
		return nil, fmt.Errorf("list quizzes of course: %w", err)
	}
	items, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("list quizzes of course: %w", err)
	}
	if len(items) > size {
		items = items[:size]
		out.NextCursor = page.Cursor(items[size-1])
	}
	out.Items, err = r.service.myQuizzes(ctx, req.GetCourseId(), `p.item_id = ANY ($2)`, items)
	for _, q := range out.GetItems() {
		q.Instructions, q.MyAttempts = "", nil
	}
	return out, err
}

// myAttempt is an attempt as its student's list has it.
type myAttempt struct {
	begun

	ItemID    string
	QuizID    string
	Points    *string
	MaxPoints string
	Withheld  bool
}

// myQuizzes returns quizzes of a course as they stand for the caller, in the order of
// their items and without those that are hidden. It takes the same few statements and
// calls for any number of them.
func (s *Service) myQuizzes(ctx context.Context, courseID, where string, arg any) ([]*assessmentpb.MyQuiz, error) {
	rows, err := s.db.Query(ctx, `
		SELECT p.item_id, z.id AS quiz_id, z.version, z.password_hash
		FROM placement p JOIN quiz z ON z.id = p.ref AND z.course_id = p.course_id AND z.deleted_at IS NULL AND z.version > 0
		WHERE p.course_id = $1 AND p.kind = 'quiz' AND `+where+` ORDER BY p.item_id`, courseID, arg)
	if err != nil {
		return nil, fmt.Errorf("quizzes of course: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[shownQuiz])
	if err != nil || len(list) == 0 {
		return nil, err
	}
	account := auth.From(ctx).Account
	items := make([]string, len(list))
	for i, one := range list {
		items[i] = one.ItemID
	}
	standing, err := s.standingAt(ctx, courseID, account, items)
	if err != nil {
		return nil, err
	}
	attempts, err := myAttempts(ctx, s.db, items, account)
	if err != nil {
		return nil, err
	}
	posted, err := postedTo(ctx, s.db, courseID, items, account)
	if err != nil {
		return nil, err
	}
	marks, err := marksOfMine(ctx, s.db, courseID, items, account)
	if err != nil {
		return nil, err
	}
	var out []*assessmentpb.MyQuiz
	for _, one := range list {
		st := standing[one.ItemID]
		if st == nil || st.state == "hidden" {
			continue
		}
		version, err := s.quizVersion(ctx, s.db, one.QuizID, one.Version)
		if err != nil {
			return nil, err
		}
		mine := slices.DeleteFunc(attempts[one.ItemID], func(a myAttempt) bool { return a.QuizID != one.QuizID })
		q := version.mine(one, st, mine, posted[one.ItemID], marks[one.ItemID], s.time())
		out = append(out, q)
	}
	return out, nil
}

// standingAt asks how some items stand for one person; those that the version which
// they see does not have are left out. It calls other services.
func (s *Service) standingAt(ctx context.Context, courseID, accountID string, items []string) (map[string]*standing, error) {
	res, err := s.items.CheckItems(ctx, &learningpb.CheckItemsRequest{CourseId: courseID, AccountId: accountID, ItemIds: items, WithTimes: true})
	if err != nil {
		return nil, err
	}
	eased, err := s.easedFor(ctx, courseID, []string{accountID})
	if err != nil {
		return nil, err
	}
	out := map[string]*standing{}
	for _, it := range res.GetItems() {
		st := &standing{
			accountID: accountID, enrolled: true, state: it.GetState(), reasons: it.GetReasons(), opensAt: momentOf(it.GetOpensAt()),
			closesAt: earlier(momentOf(it.GetClosesAt()), momentOf(it.GetUntil())), due: momentOf(it.GetDue()),
		}
		st.ease(eased[accountID])
		out[it.GetItemId()] = st
	}
	return out, nil
}

// myAttempts returns the attempts that somebody has begun at items, by item and in the
// order of their numbers.
func myAttempts(ctx context.Context, q pg.Querier, items []string, accountID string) (map[string][]myAttempt, error) {
	rows, err := q.Query(ctx, `
		SELECT id, number, state, started_at, closes_at, submitted_at, item_id, quiz_id, points::text AS points, max_points::text AS max_points, withheld FROM attempt
		WHERE item_id = ANY ($1) AND account_id = $2 AND NOT preview AND state <> 'prepared' ORDER BY item_id, number`, items, accountID)
	if err != nil {
		return nil, fmt.Errorf("read my attempts: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[myAttempt])
	if err != nil {
		return nil, fmt.Errorf("read my attempts: %w", err)
	}
	out := map[string][]myAttempt{}
	for _, a := range list {
		out[a.ItemID] = append(out[a.ItemID], a)
	}
	return out, nil
}

// myMark is what counts of somebody's attempts at an item.
type myMark struct {
	ItemID    string
	QuizID    string
	State     string
	Points    string
	MaxPoints string
}

func marksOfMine(ctx context.Context, q pg.Querier, courseID string, items []string, accountID string) (map[string]myMark, error) {
	rows, err := q.Query(ctx, `
		SELECT item_id, quiz_id, state, points, max_points FROM quiz_mark WHERE course_id = $1 AND item_id = ANY ($2) AND account_id = $3`, courseID, items, accountID)
	if err != nil {
		return nil, fmt.Errorf("read my marks: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[myMark])
	if err != nil {
		return nil, fmt.Errorf("read my marks: %w", err)
	}
	out := map[string]myMark{}
	for _, m := range list {
		out[m.ItemID] = m
	}
	return out, nil
}

// mine tells a quiz to somebody who takes it.
func (v *quizVersion) mine(one shownQuiz, st *standing, attempts []myAttempt, posted bool, mark myMark, now time.Time) *assessmentpb.MyQuiz {
	set := v.Settings
	out := &assessmentpb.MyQuiz{
		CourseId: v.CourseID, ItemId: one.ItemID, QuizId: v.QuizID, Title: v.title, Instructions: set.GetInstructions(), QuestionCount: int32(v.count), //nolint:gosec // at most 500
		TimeLimitSeconds: int32(int64(set.GetTimeLimitSeconds()) * int64(st.timePercent) / 100), Attempts: attemptsOf(set, st.extraAttempts), //nolint:gosec // at most 5 × 30 days
		AttemptsUsed: int32(len(attempts)), GradeKept: v.gradeKept(), PassPercent: set.GetPassPercent(), Navigation: v.navigation(), //nolint:gosec // at most some hundred
		HasPassword: one.PasswordHash != "", Exam: set.GetExam(), OpensAt: stampOf(st.opensAt), ClosesAt: stampOf(st.closesAt), Due: stampOf(st.due),
	}
	if v.maxPoints != nil {
		out.MaxPoints = v.maxPoints.String()
	}
	done := make([]begun, len(attempts))
	shows := true // whether the marks of all that are over are shown
	for i, a := range attempts {
		done[i] = a.begun
		m := a.message(set.GetReview(), st, posted, now)
		out.MyAttempts = append(out.MyAttempts, m)
		if a.State == stateInProgress {
			out.RunningAttemptId = a.ID
		} else {
			shows = shows && m.GetShown().GetMarks()
		}
	}
	slices.Reverse(out.GetMyAttempts())
	// What counts of several tells of each, by what the others show.
	if posted && shows && mark.QuizID == v.QuizID && mark.State == "marked" {
		out.Points, out.PointsOf = mark.Points, mark.MaxPoints
	}
	if refused := st.refuse(set, done, now); refused != nil {
		out.Refusal = &assessmentpb.StartRefusal{Code: refused.Code, Message: refused.Message}
		for _, f := range refused.Fields {
			if f.Path == "item_id" {
				out.Refusal.Reasons = append(out.Refusal.Reasons, f.Hint)
			} else if at, err := time.Parse(time.RFC3339, f.Hint); err == nil {
				out.Refusal.OpensAt = stampOf(&at)
			}
		}
	} else {
		out.CanStart = true
	}
	return out
}

// message tells an attempt to its student.
func (a myAttempt) message(matrix *assessmentpb.ReviewMatrix, st *standing, posted bool, now time.Time) *assessmentpb.MyAttempt {
	r := reviewed{running: a.State == stateInProgress, posted: posted && !a.Withheld, closesAt: closing(st.state, st.opensAt, st.closesAt, nil)}
	if !r.running {
		r.ended = a.ended()
	}
	out := &assessmentpb.MyAttempt{
		Id: a.ID, Number: a.Number, State: a.State, StartedAt: stampOf(a.StartedAt), SubmittedAt: stampOf(a.SubmittedAt), Shown: shownParts(matrix, r, now),
	}
	if !r.posted {
		out.State = veiledState(a.State)
	}
	if out.GetShown().GetMarks() && a.State == stateGraded && a.Points != nil {
		out.Points, out.MaxPoints = trimmed(*a.Points), trimmed(a.MaxPoints)
	}
	return out
}
