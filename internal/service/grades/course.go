package grades

import (
	"context"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-lms/stoa/internal/bus"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/gradebook"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
	"github.com/stoa-lms/stoa/internal/service/grades/gradespb"
)

// changeCourse locks a gradebook to change how it is counted, and makes one where there
// is none. A course keeps the calculation that it begins with.
func (s *Service) changeCourse(ctx context.Context, tx *pg.Tx, courseID string) error {
	if err := lockGradebookToChange(ctx, tx, courseID); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, `
		INSERT INTO course (course_id, sequence, version, title, calculation) VALUES ($1, 0, 0, '', $2) ON CONFLICT DO NOTHING`, courseID, gradebook.Version)
	if err != nil {
		return fmt.Errorf("store course: %w", err)
	}
	return nil
}

// courseChanged gives a gradebook, which is locked to change, its next revision, and has
// everybody counted anew behind the change. Items that are another are named.
func (s *Service) courseChanged(ctx context.Context, tx *pg.Tx, courseID string, items ...string) error {
	if err := s.courseRevised(ctx, tx, courseID, items...); err != nil {
		return err
	}
	return s.countEverybody(ctx, tx, courseID)
}

// courseRevised is courseChanged for what changes no total.
func (s *Service) courseRevised(ctx context.Context, tx *pg.Tx, courseID string, items ...string) error {
	if _, err := tx.Exec(ctx, `UPDATE course SET revision = revision + 1 WHERE course_id = $1`, courseID); err != nil {
		return fmt.Errorf("revise course: %w", err)
	}
	if len(items) == 0 {
		return nil
	}
	seq, err := s.number(ctx, tx, courseID, len(items))
	if err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `
		UPDATE item i SET seq = $2 + f.n, revision = revision + 1 FROM unnest($3::text[]) WITH ORDINALITY AS f (item_id, n)
		WHERE i.course_id = $1 AND i.item_id = f.item_id`, courseID, seq, items); err != nil {
		return fmt.Errorf("revise items: %w", err)
	}
	return nil
}

// coursePublished keeps by what a course is graded, and what in it. What it has no more
// keeps its marks and counts no more.
func (s *Service) coursePublished(ctx context.Context, tx *pg.Tx, e *coursespb.CoursePublished) error {
	courseID := e.GetCourseId()
	if err := s.changeCourse(ctx, tx, courseID); err != nil {
		return err
	}
	var before []byte
	var sequence int64
	if err := tx.QueryRow(ctx, `SELECT sequence, criteria FROM course WHERE course_id = $1 FOR UPDATE`, courseID).Scan(&sequence, &before); err != nil {
		return fmt.Errorf("read course: %w", err)
	}
	if sequence >= e.GetSequence() {
		return nil
	}
	var criteria []byte
	if e.GetGrading() != nil {
		var err error
		if criteria, err = (proto.MarshalOptions{Deterministic: true}).Marshal(e.GetGrading()); err != nil {
			return err
		}
	}
	if _, err := tx.Exec(ctx, `
		UPDATE course SET sequence = $2, version = $3, title = $4, criteria = $5, problem = NULL WHERE course_id = $1`,
		courseID, e.GetSequence(), e.GetVersion(), e.GetTitle(), criteria); err != nil {
		return fmt.Errorf("store course: %w", err)
	}
	changed, err := s.storeItems(ctx, tx, e)
	if err != nil {
		return err
	}
	if err := s.tellManual(ctx, tx, courseID, changed); err != nil {
		return err
	}
	if err := s.holdCriteria(ctx, tx, courseID, before); err != nil {
		return err
	}
	if err := s.askDue(ctx, tx, courseID, ""); err != nil {
		return err
	}
	return s.courseChanged(ctx, tx, courseID, changed...)
}

// tellManual says of items that are new, or are there again, that their grades are not
// posted by themselves.
func (s *Service) tellManual(ctx context.Context, tx *pg.Tx, courseID string, items []string) error {
	manual, err := collectTexts(tx.Query(ctx, `
		SELECT item_id FROM item WHERE course_id = $1 AND item_id = ANY ($2) AND present AND posting = 'manual' ORDER BY item_id`, courseID, items))
	if err != nil {
		return fmt.Errorf("manual items: %w", err)
	}
	for _, itemID := range manual {
		version, err := s.number(ctx, tx, courseID, 1)
		if err != nil {
			return err
		}
		if err := bus.Publish(ctx, tx, &gradespb.PostingChanged{CourseId: courseID, ItemId: itemID, Policy: "manual", Version: version + 1}); err != nil {
			return err
		}
	}
	return nil
}

// holdCriteria keeps those of before where by the new ones nothing can be counted, and
// says so. Courses are not published with such criteria.
func (s *Service) holdCriteria(ctx context.Context, tx *pg.Tx, courseID string, before []byte) error {
	_, err := readBook(ctx, tx, courseID)
	if err == nil {
		return nil
	}
	problems := &gradespb.GradingProblems{Items: problemsOf(err)}
	text, err := proto.Marshal(problems)
	if err != nil {
		return err
	}
	s.log.WarnContext(ctx, "grades: a course was published with criteria by which nothing can be counted", "course", courseID)
	for _, criteria := range [][]byte{before, nil} {
		if _, err := tx.Exec(ctx, `UPDATE course SET criteria = $2, problem = $3 WHERE course_id = $1`, courseID, criteria, text); err != nil {
			return fmt.Errorf("hold criteria: %w", err)
		}
		if _, err = readBook(ctx, tx, courseID); err == nil {
			return nil
		}
	}
	return err
}

// problemsOf tells an error as problems.
func problemsOf(err error) []*gradespb.GradingProblem {
	var out []*gradespb.GradingProblem
	for _, f := range fieldsOf(err) {
		if len(out) < 20 {
			out = append(out, &gradespb.GradingProblem{Path: f.Path, Code: f.Code, Hint: f.Hint})
		}
	}
	if out == nil {
		out = append(out, &gradespb.GradingProblem{Path: "grading", Code: "grading.invalid", Hint: "Publish the course with other criteria."})
	}
	return out
}

func fieldsOf(err error) []fault.Field {
	if refused, ok := errorsAsFault(err); ok {
		return refused.Fields
	}
	return nil
}

// storeItems keeps the columns that a published version has, and returns those that are
// others than before. Quizzes and assignments are columns, lessons that the
// criteria name, and what these calculate.
func (s *Service) storeItems(ctx context.Context, tx *pg.Tx, e *coursespb.CoursePublished) ([]string, error) {
	graded := map[string]bool{}
	for _, c := range e.GetGrading().GetCategories() {
		for _, itemID := range c.GetItemIds() {
			graded[itemID] = true
		}
	}
	var ids, kinds, titles []string
	for _, it := range e.GetItems() {
		activity := it.GetKind() == "quiz" || it.GetKind() == "assignment"
		if activity || it.GetKind() == "lesson" && graded[it.GetId()] {
			ids, kinds, titles = append(ids, it.GetId()), append(kinds, it.GetKind()), append(titles, it.GetTitle())
		}
	}
	for _, c := range e.GetGrading().GetCalculated() {
		ids, kinds, titles = append(ids, calculatedID(c.GetKey())), append(kinds, calculatedKind), append(titles, c.GetTitle())
	}
	var changed []string
	const fresh = `
		INSERT INTO item AS i (course_id, item_id, source, kind, title, position, present, posting)
		SELECT $1, f.item_id, 'course', f.kind, f.title, f.n, true, c.posting
		FROM unnest($2::text[], $3::text[], $4::text[]) WITH ORDINALITY AS f (item_id, kind, title, n) JOIN course c ON c.course_id = $1
		ON CONFLICT ON CONSTRAINT item_pkey DO UPDATE SET kind = EXCLUDED.kind, title = EXCLUDED.title, position = EXCLUDED.position, present = true
		WHERE (i.kind, i.title, i.position, i.present) IS DISTINCT FROM (EXCLUDED.kind, EXCLUDED.title, EXCLUDED.position, true)
		RETURNING item_id`
	const gone = `
		UPDATE item SET present = false WHERE course_id = $1 AND source = 'course' AND present AND item_id <> ALL ($2::text[]) RETURNING item_id`
	for _, q := range []struct {
		sql  string
		args []any
	}{{fresh, []any{courseIDOf(e), ids, kinds, titles}}, {gone, []any{courseIDOf(e), ids}}} {
		list, err := collectTexts(tx.Query(ctx, q.sql, q.args...))
		if err != nil {
			return nil, fmt.Errorf("store items: %w", err)
		}
		changed = append(changed, list...)
	}
	return changed, nil
}

func courseIDOf(e interface{ GetCourseId() string }) string { return e.GetCourseId() }
