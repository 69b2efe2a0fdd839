package courses

import (
	"context"
	"slices"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/bus"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
)

// quizCopies are the quizzes of activities that are copied: each gets an id here, and
// who keeps quizzes makes it once it is told.
type quizCopies struct {
	from, to string // the courses
	copies   []*coursespb.CopiedQuiz
}

// called returns how a quiz is called in the other course.
func (q *quizCopies) called(quizID string) string {
	if q.from == q.to {
		return quizID
	}
	i := slices.IndexFunc(q.copies, func(c *coursespb.CopiedQuiz) bool { return c.GetFromQuizId() == quizID })
	if i < 0 {
		i = len(q.copies)
		q.copies = append(q.copies, &coursespb.CopiedQuiz{QuizId: id.New("quiz"), FromQuizId: quizID})
	}
	return q.copies[i].GetQuizId()
}

// maxCopied is how many quizzes one event tells of.
const maxCopied = 1000

// tell has the quizzes made.
func (q *quizCopies) tell(ctx context.Context, tx *pg.Tx) error {
	for some := range slices.Chunk(q.copies, maxCopied) {
		if err := bus.Publish(ctx, tx, &coursespb.ActivitiesCopied{
			CourseId: q.to, FromCourseId: q.from, AccountId: auth.From(ctx).Account, Quizzes: some,
		}); err != nil {
			return err
		}
	}
	return nil
}

// mayCopyQuizzes reports whether the caller may have the quizzes of a course with what
// is right in them. Whoever may use a template may have all of it.
func (s *Service) mayCopyQuizzes(ctx context.Context, courseID, source string) (bool, error) {
	if source == "template" {
		return true, nil
	}
	err := s.may(ctx, auth.From(ctx).Account, courseID, "assessment.edit")
	if fault.Is(err, fault.Forbidden) || fault.Is(err, fault.NotFound) {
		return false, nil
	}
	return err == nil, err
}
