package assessment

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"

	"github.com/stoa-lms/stoa/internal/exact"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
	"github.com/stoa-lms/stoa/internal/service/learning/learningpb"
)

// rightAfter is how long after its end an attempt is looked at as right after it.
const rightAfter = 2 * time.Minute

// reviewed is what decides what may be shown of an attempt.
type reviewed struct {
	running  bool
	ended    time.Time  // of one that does not run
	closesAt *time.Time // when the quiz is closed for its student; nil for never
	posted   bool       // whether its student may see their grade, for which nobody waits
}

// shownParts returns what may be shown of an attempt at a moment, by the review matrix
// of its quiz. It is pure, and what it returns is the caller's.
//
// A grade that is not posted takes with it all that it could be told from: marks, what
// was right and wrong, feedback, and right answers. Without the attempt itself nothing
// of its questions is shown.
func shownParts(matrix *assessmentpb.ReviewMatrix, r reviewed, now time.Time) *assessmentpb.ReviewParts {
	var row *assessmentpb.ReviewParts
	switch {
	case matrix == nil:
		row = &assessmentpb.ReviewParts{Attempt: true, Marks: true, Correctness: true, Feedback: true, GeneralFeedback: true, Answer: true}
	case r.running:
		row = matrix.GetDuring()
	case now.Before(r.ended.Add(rightAfter)):
		row = matrix.GetAfter()
	case r.closesAt == nil || now.Before(*r.closesAt):
		row = matrix.GetLater()
	default:
		row = matrix.GetClosed()
	}
	out := &assessmentpb.ReviewParts{}
	if row != nil {
		out = proto.CloneOf(row)
	}
	if !r.posted {
		out = &assessmentpb.ReviewParts{Attempt: out.GetAttempt()}
	}
	if !out.GetAttempt() {
		out = &assessmentpb.ReviewParts{Marks: out.GetMarks()}
	}
	return out
}

// reviewShown is what may be shown of an attempt.
type reviewShown struct {
	*assessmentpb.ReviewParts

	posted bool // whether its student may know that it is marked
}

// reviewOf is reviewsOf one attempt.
func (s *Service) reviewOf(ctx context.Context, q pg.Querier, a *attempt) (reviewShown, error) {
	list, err := s.reviewsOf(ctx, q, []*attempt{a})
	return list[a.ID], err
}

// reviewsOf returns what the owner of attempts may see of each of them now, by the
// versions of their quizzes that were published last. Of attempts that are over it may
// ask learning when the quiz closes: not in a transaction. It takes one statement, and
// two and one call for each course.
func (s *Service) reviewsOf(ctx context.Context, q pg.Querier, list []*attempt) (map[string]reviewShown, error) {
	matrices, err := s.matricesOf(ctx, q, list)
	if err != nil {
		return nil, err
	}
	byCourse := map[string][]*attempt{}
	for _, a := range list {
		byCourse[a.CourseID] = append(byCourse[a.CourseID], a)
	}
	now, out := s.time(), make(map[string]reviewShown, len(list))
	for courseID, attempts := range byCourse {
		var items, asked []string
		for _, a := range attempts {
			items = append(items, a.ItemID)
			// Where it matters that it is closed: its window may have been moved since
			// the attempt began.
			if m := matrices[a.ID]; !a.running() && !a.Preview && now.Sub(endOf(a)) >= rightAfter && !proto.Equal(m.GetLater(), m.GetClosed()) {
				asked = append(asked, a.ItemID)
			}
		}
		posted, err := postedTo(ctx, q, courseID, items, attempts[0].AccountID)
		if err != nil {
			return nil, err
		}
		closes, err := s.closings(ctx, courseID, attempts[0].AccountID, asked)
		if err != nil {
			return nil, err
		}
		for _, a := range attempts {
			r := reviewed{running: a.running(), ended: endOf(a), closesAt: a.OpenUntil, posted: a.Preview || posted[a.ItemID] && !a.Withheld}
			if at, ok := closes[a.ItemID]; ok {
				r.closesAt = at
			}
			out[a.ID] = reviewShown{shownParts(matrices[a.ID], r, now), r.posted}
		}
	}
	return out, nil
}

// matricesOf returns the review settings that count for attempts, by their ids: none for
// previews that are over, of which all is shown.
func (s *Service) matricesOf(ctx context.Context, q pg.Querier, list []*attempt) (map[string]*assessmentpb.ReviewMatrix, error) {
	var ids []string
	out := make(map[string]*assessmentpb.ReviewMatrix, len(list))
	for _, a := range list {
		switch {
		case !a.Preview:
			ids = append(ids, a.QuizID)
		case a.running():
			version, err := s.quizVersion(ctx, q, a.QuizID, a.QuizVersion)
			if err != nil {
				return nil, err
			}
			out[a.ID] = version.Settings.GetReview()
		}
	}
	rows, err := q.Query(ctx, `SELECT id, version FROM quiz WHERE id = ANY ($1)`, ids)
	if err != nil {
		return nil, fmt.Errorf("versions of quizzes: %w", err)
	}
	newest := map[string]int32{}
	var quizID string
	var number int32
	if _, err := pgx.ForEachRow(rows, []any{&quizID, &number}, func() error {
		newest[quizID] = number
		return nil
	}); err != nil {
		return nil, fmt.Errorf("versions of quizzes: %w", err)
	}
	for _, a := range list {
		if a.Preview {
			continue
		}
		version, err := s.quizVersion(ctx, q, a.QuizID, newest[a.QuizID])
		if err != nil {
			return nil, err
		}
		out[a.ID] = version.Settings.GetReview()
	}
	return out, nil
}

// closings asks when items of a course are closed for somebody; those that the version
// which they see does not have are left out.
func (s *Service) closings(ctx context.Context, courseID, accountID string, items []string) (map[string]*time.Time, error) {
	if len(items) == 0 {
		return nil, nil
	}
	res, err := s.items.CheckItems(ctx, &learningpb.CheckItemsRequest{CourseId: courseID, AccountId: accountID, ItemIds: items, WithTimes: true})
	if err != nil {
		return nil, err
	}
	out := map[string]*time.Time{}
	for _, it := range res.GetItems() {
		out[it.GetItemId()] = closing(it.GetState(), momentOf(it.GetOpensAt()), momentOf(it.GetClosesAt()), momentOf(it.GetUntil()))
	}
	return out, nil
}

// endOf returns when an attempt that does not run ended.
func endOf(a *attempt) time.Time {
	return begun{SubmittedAt: a.SubmittedAt, ClosesAt: a.ClosesAt, StartedAt: a.StartedAt}.ended()
}

// closing returns when a quiz is closed for somebody: when it can't be done late any
// more or its rules close it, and of one that is closed and does not open by itself
// always.
func closing(state string, opens, closes, until *time.Time) *time.Time {
	if state != "open" && opens == nil {
		return &time.Time{}
	}
	return earlier(closes, until)
}

// trimmed returns a decimal as it is kept without zeros at its end.
func trimmed(points string) string {
	n, err := exact.Parse(points)
	if err != nil {
		return points
	}
	return n.String()
}
