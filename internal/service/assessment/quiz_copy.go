package assessment

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/question"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

// copiedQuiz is what a quiz is in another course, before it is stored there.
type copiedQuiz struct {
	from      quiz
	courseID  string
	draft     draft
	questions []written // to be added to the course's bank
	leftOut   int32     // slots
}

// CopyQuiz implements assessmentpb.QuizServiceServer.
func (r *quizServer) CopyQuiz(ctx context.Context, req *assessmentpb.CopyQuizRequest) (*assessmentpb.QuizCopy, error) {
	s := r.service
	to := orElse(req.GetToCourseId(), req.GetCourseId())
	if to != req.GetCourseId() {
		for _, permission := range []string{"assessment.edit", "question.edit"} {
			if err := s.may(ctx, to, permission); err != nil {
				return nil, err
			}
		}
	}
	c, err := s.planCopy(ctx, req.GetCourseId(), req.GetQuizId(), to)
	if err != nil {
		return nil, err
	}
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*assessmentpb.QuizCopy, error) {
		z, err := s.storeCopy(ctx, tx, c, id.New("quiz"), strings.TrimSpace(req.GetTitle()))
		if err != nil {
			return nil, err
		}
		out := &assessmentpb.QuizCopy{CopiedQuestions: int32(len(c.questions)), LeftOut: c.leftOut} //nolint:gosec // at most 500
		out.Quiz, err = z.message(true)
		return out, err
	})
}

// storeCopy adds a copy with its questions.
func (s *Service) storeCopy(ctx context.Context, tx *pg.Tx, c *copiedQuiz, quizID, title string) (quiz, error) {
	if len(c.questions) > 0 {
		if err := lockBank(ctx, tx, c.courseID); err != nil {
			return quiz{}, err
		}
		if err := s.insertQuestions(ctx, tx, c.courseID, "", c.questions); err != nil {
			return quiz{}, err
		}
	}
	z := quiz{ID: quizID, CourseID: c.courseID, Title: orElse(title, c.from.Title)}
	if err := s.insertQuiz(ctx, tx, &z, c.draft, c.from.ID); err != nil {
		return quiz{}, err
	}
	return z, audit.Record(ctx, tx, audit.Entry{Action: "quiz.copied", Object: z.ID, Course: z.CourseID, After: map[string]any{
		"from": c.from.ID, "from_course": c.from.CourseID, "questions": len(c.questions), "left_out": c.leftOut,
	}})
}

// planCopy returns what the draft of a quiz is in another course. Questions of banks
// that the other course may use stay as they are named; others are copied with the
// pictures that they show, which asks media: never in a transaction. Slots that draw
// from other banks are left out.
func (s *Service) planCopy(ctx context.Context, courseID, quizID, to string) (*copiedQuiz, error) {
	z, err := readQuiz(ctx, s.db, courseID, quizID, "")
	if err != nil {
		return nil, err
	}
	settings, err := z.settings()
	if err != nil {
		return nil, err
	}
	c := &copiedQuiz{from: z, courseID: to}
	if to != courseID {
		if err := s.rewrite(ctx, c, settings); err != nil {
			return nil, err
		}
	}
	c.draft, err = newDraft(settings)
	return c, err
}

// rewrite changes settings to what they are in the course of a copy.
func (s *Service) rewrite(ctx context.Context, c *copiedQuiz, settings *assessmentpb.QuizSettings) error {
	usable, err := banks(ctx, s.db, c.courseID)
	if err != nil {
		return err
	}
	d, err := newDraft(proto.CloneOf(settings))
	if err != nil {
		return err
	}
	called, err := s.copyQuestions(ctx, c, &d, usable)
	if err != nil {
		return err
	}
	rows, err := s.db.Query(ctx, `SELECT id FROM question_category WHERE id = ANY ($1) AND course_id = ANY ($2)`, d.categories(), usable)
	if err != nil {
		return fmt.Errorf("categories of quiz: %w", err)
	}
	known, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("categories of quiz: %w", err)
	}
	for _, section := range settings.GetSections() {
		section.Slots = slices.DeleteFunc(section.GetSlots(), func(slot *assessmentpb.QuizSlot) bool {
			gone := false
			if q := slot.GetQuestion(); q != nil {
				to, ok := called[q.GetQuestionId()]
				if gone = !ok; to != q.GetQuestionId() {
					q.QuestionId, q.Version = to, 0 // a copy begins anew
				}
			} else {
				gone = !slices.Contains(known, slot.GetDraw().GetCategoryId())
			}
			if gone {
				c.leftOut++
			}
			return gone
		})
	}
	return nil
}

// copyQuestions makes copies of the questions that a quiz names and the other course
// can't use, in the versions that it names, and returns how all of them are called
// there. What is not in a bank any more is left out.
func (s *Service) copyQuestions(ctx context.Context, c *copiedQuiz, d *draft, usable []string) (map[string]string, error) {
	from, err := banks(ctx, s.db, c.from.CourseID)
	if err != nil {
		return nil, err
	}
	ids, versions := make([]string, 0, len(d.fixed)), make([]int32, 0, len(d.fixed))
	eachSlot(d.settings, func(_ string, _ int, slot *assessmentpb.QuizSlot) {
		if q := slot.GetQuestion(); q != nil {
			ids, versions = append(ids, q.GetQuestionId()), append(versions, q.GetVersion())
		}
	})
	rows, err := s.db.Query(ctx, `
		SELECT `+bankQuestionColumns+` FROM unnest($1::text[], $2::int[]) WITH ORDINALITY AS w (id, version, place)
		JOIN question q ON q.id = w.id AND q.deleted_at IS NULL AND q.course_id = ANY ($3)
		JOIN question_version v ON v.question_id = q.id AND v.version = CASE WHEN w.version = 0 THEN q.version ELSE w.version END
		ORDER BY w.place`, ids, versions, from)
	if err != nil {
		return nil, fmt.Errorf("questions of quiz: %w", err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByName[bankQuestion])
	if err != nil {
		return nil, fmt.Errorf("questions of quiz: %w", err)
	}
	called, pictures, copied := map[string]string{}, map[string][]string{}, []bankQuestion(nil)
	for _, q := range found {
		called[q.ID] = q.ID
		if slices.Contains(usable, q.CourseID) {
			continue
		}
		content, err := q.content()
		if err != nil {
			return nil, err
		}
		copied = append(copied, q)
		pictures[q.CourseID] = append(pictures[q.CourseID], question.Media(content)...)
	}
	media := map[string]map[string]string{}
	for bank, list := range pictures {
		if media[bank], err = s.copyPictures(ctx, bank, c.courseID, list); err != nil {
			return nil, err
		}
	}
	for _, q := range copied {
		content, err := q.content()
		if err != nil {
			return nil, err
		}
		w, err := write("", question.WithMedia(content, media[q.CourseID]), q.Tags)
		if err != nil {
			return nil, err
		}
		called[q.ID] = w.ID
		c.questions = append(c.questions, w)
	}
	return called, nil
}
