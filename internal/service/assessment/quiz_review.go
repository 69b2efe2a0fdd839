package assessment

import (
	"context"
	"fmt"
	"time"

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
	posted   bool       // whether its student may see their grade
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

// reviewOf returns what the owner of an attempt may see of it now, by the version of
// the quiz that was published last. Of an attempt that is over it may ask learning when
// the quiz closes: not in a transaction.
func (s *Service) reviewOf(ctx context.Context, q pg.Querier, a *attempt, version *quizVersion) (*assessmentpb.ReviewParts, error) {
	var newest int32
	if err := q.QueryRow(ctx, `SELECT version FROM quiz WHERE id = $1`, a.QuizID).Scan(&newest); err != nil {
		return nil, fmt.Errorf("version of quiz: %w", err)
	}
	if newest > version.Number {
		var err error
		if version, err = s.quizVersion(ctx, q, a.QuizID, newest); err != nil {
			return nil, err
		}
	}
	matrix := version.Settings.GetReview()
	r := reviewed{running: a.running(), closesAt: a.OpenUntil, posted: a.Preview}
	if !a.Preview {
		posted, err := postedTo(ctx, q, a.CourseID, []string{a.ItemID}, a.AccountID)
		if err != nil {
			return nil, err
		}
		r.posted = posted[a.ItemID]
	}
	now := s.time()
	if !r.running {
		r.ended = endOf(a.SubmittedAt, a.ClosesAt)
		if !a.Preview && !now.Before(r.ended.Add(rightAfter)) && !proto.Equal(matrix.GetLater(), matrix.GetClosed()) {
			// Its window may have been moved since it began.
			res, err := s.items.ListItemAccess(ctx, &learningpb.ListItemAccessRequest{CourseId: a.CourseID, ItemId: a.ItemID, AccountIds: []string{a.AccountID}})
			if err != nil {
				return nil, err
			}
			it := res.GetItems()[0]
			r.closesAt = closing(it.GetState(), momentOf(it.GetOpensAt()), momentOf(it.GetClosesAt()), momentOf(it.GetUntil()))
		}
	}
	return shownParts(matrix, r, now), nil
}

// endOf returns when an attempt that does not run ended.
func endOf(submittedAt, closesAt *time.Time) time.Time {
	switch {
	case submittedAt != nil:
		return *submittedAt
	case closesAt != nil:
		return *closesAt
	default:
		return time.Time{}
	}
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
