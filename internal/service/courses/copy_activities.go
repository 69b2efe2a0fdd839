package courses

import (
	"context"
	"slices"
	"strings"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/bus"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
)

// activityCopies are the quizzes and assignments of activities that are copied: each gets
// an id here, and who keeps them makes it once it is told.
type activityCopies struct {
	from, to string            // the courses
	made     map[string]string // what they are called in the other course
	copies   []string          // those of which there are copies, in their order
}

// called returns how a quiz or an assignment is called in the other course.
func (a *activityCopies) called(ref string) string {
	if !asked(ref) {
		return ""
	}
	if a.from == a.to {
		return ref
	}
	if a.made == nil {
		a.made = map[string]string{}
	}
	if a.made[ref] == "" {
		kind, _, _ := strings.Cut(ref, "_")
		a.made[ref] = id.New(kind)
		a.copies = append(a.copies, ref)
	}
	return a.made[ref]
}

// maxCopied is how many quizzes and assignments one event tells of.
const maxCopied = 1000

// tell has the quizzes and assignments made.
func (a *activityCopies) tell(ctx context.Context, tx *pg.Tx) error {
	for some := range slices.Chunk(a.copies, maxCopied) {
		e := &coursespb.ActivitiesCopied{CourseId: a.to, FromCourseId: a.from, AccountId: auth.From(ctx).Account}
		for _, ref := range some {
			if id.Valid("quiz", ref) {
				e.Quizzes = append(e.Quizzes, &coursespb.CopiedQuiz{QuizId: a.made[ref], FromQuizId: ref})
			} else {
				e.Assignments = append(e.Assignments, &coursespb.CopiedAssignment{AssignmentId: a.made[ref], FromAssignmentId: ref})
			}
		}
		if err := bus.Publish(ctx, tx, e); err != nil {
			return err
		}
	}
	return nil
}

// asked reports whether an activity shows a quiz or an assignment.
func asked(ref string) bool { return id.Valid("quiz", ref) || id.Valid("assignment", ref) }

// mayCopyActivities reports whether the caller may have the quizzes of a course with what
// is right in them, and its assignments. Whoever may use a template may have all of it.
func (s *Service) mayCopyActivities(ctx context.Context, courseID, source string) (bool, error) {
	if source == "template" {
		return true, nil
	}
	err := s.may(ctx, auth.From(ctx).Account, courseID, "assessment.edit")
	if fault.Is(err, fault.Forbidden) || fault.Is(err, fault.NotFound) {
		return false, nil
	}
	return err == nil, err
}
