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

// maxCopiedQuestions is how many questions come with a copy of a quiz. Where there are
// more to draw from, draws are left out.
const maxCopiedQuestions = 2_000

// copiedQuiz is what a quiz is in another course, before it is stored there.
type copiedQuiz struct {
	from       quiz
	courseID   string
	draft      draft
	categories []category           // to be added to the course's bank, parents first
	questions  map[string][]written // the same, by their category
	called     map[string]string    // what questions are called there; nil where it is the same
	copied     int32                // questions
	leftOut    int32                // slots
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
		out := &assessmentpb.QuizCopy{CopiedQuestions: c.copied, LeftOut: c.leftOut}
		out.Quiz, err = z.message(true)
		return out, err
	})
}

// storeCopy adds a copy with its categories and questions.
func (s *Service) storeCopy(ctx context.Context, tx *pg.Tx, c *copiedQuiz, quizID, title string) (quiz, error) {
	if c.copied > 0 || len(c.categories) > 0 {
		if err := s.storeBank(ctx, tx, c); err != nil {
			return quiz{}, err
		}
	}
	z := quiz{ID: quizID, CourseID: c.courseID, Title: orElse(title, c.from.Title)}
	if err := s.insertQuiz(ctx, tx, &z, c.draft, c.from.ID); err != nil {
		return quiz{}, err
	}
	if err := s.copyRubrics(ctx, tx, c.from.ID, z.ID, c.courseID, c.called); err != nil {
		return quiz{}, err
	}
	return z, audit.Record(ctx, tx, audit.Entry{Action: "quiz.copied", Object: z.ID, Course: z.CourseID, After: map[string]any{
		"from": c.from.ID, "from_course": c.from.CourseID, "questions": c.copied, "categories": len(c.categories), "left_out": c.leftOut,
	}})
}

// storeBank adds the categories and the questions of a copy to the course's bank.
func (s *Service) storeBank(ctx context.Context, tx *pg.Tx, c *copiedQuiz) error {
	if err := lockBank(ctx, tx, c.courseID); err != nil {
		return err
	}
	there, err := tree(ctx, tx, []string{c.courseID})
	if err != nil {
		return err
	}
	if len(there)+len(c.categories) > maxCategories {
		return ErrCategoriesFull
	}
	for _, one := range c.categories {
		// Where the bank has one of that name already, this is another.
		name := one.Name
		for n := 2; slices.ContainsFunc(there, func(t category) bool { return t.ParentID == one.ParentID && strings.EqualFold(t.Name, name) }); n++ {
			name = fmt.Sprintf("%.90s (%d)", one.Name, n)
		}
		there = append(there, category{ID: one.ID, ParentID: one.ParentID, Name: name})
		if _, err := tx.Exec(ctx, `INSERT INTO question_category (id, course_id, parent_id, name, created_at) VALUES ($1, $2, nullif($3, ''), $4, $5)`,
			one.ID, c.courseID, one.ParentID, name, s.time()); err != nil {
			return fmt.Errorf("copy category: %w", err)
		}
	}
	for categoryID, list := range c.questions {
		if err := s.insertQuestions(ctx, tx, c.courseID, categoryID, list); err != nil {
			return err
		}
	}
	return nil
}

// planCopy returns what the draft of a quiz is in another course. Questions and
// categories of banks that the other course may use stay as they are named. Others are
// copied: the questions with the pictures that they show, which asks media: never in a
// transaction; and the categories with all that is in them, as the draws that name
// them.
func (s *Service) planCopy(ctx context.Context, courseID, quizID, to string) (*copiedQuiz, error) {
	z, err := readQuiz(ctx, s.db, courseID, quizID, "")
	if err != nil {
		return nil, err
	}
	settings, err := z.settings()
	if err != nil {
		return nil, err
	}
	c := &copiedQuiz{from: z, courseID: to, questions: map[string][]written{}}
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
	d, err := newDraft(proto.CloneOf(settings))
	if err != nil {
		return err
	}
	usable, err := banks(ctx, s.db, c.courseID)
	if err != nil {
		return err
	}
	from, err := banks(ctx, s.db, c.from.CourseID)
	if err != nil {
		return err
	}
	categories, err := s.copyCategories(ctx, c, &d, from, usable)
	if err != nil {
		return err
	}
	called, err := s.copyQuestions(ctx, c, &d, from, usable, categories)
	if err != nil {
		return err
	}
	c.called = called
	if err := s.copyInstructions(ctx, c, settings); err != nil {
		return err
	}
	for _, section := range settings.GetSections() {
		section.Slots = slices.DeleteFunc(section.GetSlots(), func(slot *assessmentpb.QuizSlot) bool {
			there := false
			if q := slot.GetQuestion(); q != nil {
				var to string
				if to, there = called[q.GetQuestionId()]; to != q.GetQuestionId() {
					q.QuestionId, q.Version = to, 0 // a copy begins anew
				}
			} else if draw := slot.GetDraw(); draw != nil {
				draw.CategoryId, there = categories[draw.GetCategoryId()]
			}
			if !there {
				c.leftOut++
			}
			return !there
		})
	}
	return nil
}

// copyInstructions gives the other course the files that instructions name.
func (s *Service) copyInstructions(ctx context.Context, c *copiedQuiz, settings *assessmentpb.QuizSettings) error {
	var named []string
	for _, text := range quizInstructions(settings) {
		named = append(named, question.MediaIn(text)...)
	}
	called, err := s.copyPictures(ctx, c.from.CourseID, c.courseID, named)
	if err != nil {
		return err
	}
	settings.Instructions = question.RenameMedia(settings.GetInstructions(), called)
	for _, section := range settings.GetSections() {
		section.Instructions = question.RenameMedia(section.GetInstructions(), called)
	}
	return nil
}

// copyCategories makes copies of the categories that a quiz draws from and the other
// course can't use, with those in them, and returns how all of them are called there.
// What is too much is left out.
func (s *Service) copyCategories(ctx context.Context, c *copiedQuiz, d *draft, from, usable []string) (map[string]string, error) {
	all, err := tree(ctx, s.db, from)
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	wanted := map[string]bool{}
	for _, categoryID := range d.categories() {
		one, ok := find(all, categoryID)
		switch {
		case !ok:
		case slices.Contains(usable, one.CourseID):
			out[categoryID] = categoryID
		default:
			for _, in := range under(all, categoryID) {
				wanted[in] = true
			}
		}
	}
	ids := make([]string, 0, len(wanted))
	for categoryID := range wanted {
		ids = append(ids, categoryID)
	}
	var n int
	if err := s.db.QueryRow(ctx, `SELECT count(*) FROM question WHERE category_id = ANY ($1) AND deleted_at IS NULL`, ids).Scan(&n); err != nil {
		return nil, fmt.Errorf("count questions: %w", err)
	}
	if n > maxCopiedQuestions-maxQuizQuestions {
		return out, nil
	}
	for _, one := range all { // by their path: parents first
		if wanted[one.ID] {
			out[one.ID] = id.New("category")
			parent := ""
			if wanted[one.ParentID] {
				parent = out[one.ParentID]
			}
			c.categories = append(c.categories, category{ID: out[one.ID], CourseID: c.courseID, ParentID: parent, Name: one.Name})
		}
	}
	return out, nil
}

// copyQuestions makes copies of the questions that a quiz names and the other course
// can't use, in the versions that it names, and of those in categories that are copied,
// and returns how all of them are called there. What is not in a bank any more is left
// out.
func (s *Service) copyQuestions(ctx context.Context, c *copiedQuiz, d *draft, from, usable []string, categories map[string]string) (map[string]string, error) {
	var copied []string
	for was, is := range categories {
		if was != is {
			copied = append(copied, was)
		}
	}
	ids, versions := make([]string, 0, len(d.fixed)), make([]int32, 0, len(d.fixed))
	eachSlot(d.settings, func(_ string, _ int, slot *assessmentpb.QuizSlot) {
		if q := slot.GetQuestion(); q != nil {
			ids, versions = append(ids, q.GetQuestionId()), append(versions, q.GetVersion())
		}
	})
	rows, err := s.db.Query(ctx, `
		SELECT `+bankQuestionColumns+`
		FROM (
			SELECT id, version, place FROM unnest($1::text[], $2::int[]) WITH ORDINALITY AS n (id, version, place)
			UNION ALL SELECT q.id, 0, 1000000 FROM question q WHERE q.category_id = ANY ($4) AND q.id <> ALL ($1)
		) AS w
		JOIN question q ON q.id = w.id AND q.deleted_at IS NULL AND q.course_id = ANY ($3)
		JOIN question_version v ON v.question_id = q.id AND v.version = CASE WHEN w.version = 0 THEN q.version ELSE w.version END
		ORDER BY w.place, q.id`, ids, versions, from, copied)
	if err != nil {
		return nil, fmt.Errorf("questions of quiz: %w", err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByName[bankQuestion])
	if err != nil {
		return nil, fmt.Errorf("questions of quiz: %w", err)
	}
	called, pictures := map[string]string{}, map[string][]string{}
	for _, q := range found {
		called[q.ID] = q.ID
		if slices.Contains(usable, q.CourseID) {
			continue
		}
		content, err := q.content()
		if err != nil {
			return nil, err
		}
		pictures[q.CourseID] = append(pictures[q.CourseID], question.Media(content)...)
	}
	media := map[string]map[string]string{}
	for bank, list := range pictures {
		if media[bank], err = s.copyPictures(ctx, bank, c.courseID, list); err != nil {
			return nil, err
		}
	}
	for _, q := range found {
		if slices.Contains(usable, q.CourseID) {
			continue
		}
		content, err := q.content()
		if err != nil {
			return nil, err
		}
		w, err := write("", question.WithMedia(content, media[q.CourseID]), q.Tags)
		if err != nil {
			return nil, err
		}
		called[q.ID] = w.ID
		to := categories[q.CategoryID]
		if to == q.CategoryID {
			to = ""
		}
		c.questions[to] = append(c.questions[to], w)
		c.copied++
	}
	return called, nil
}
