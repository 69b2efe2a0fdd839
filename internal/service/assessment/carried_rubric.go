package assessment

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"

	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

// carriedRubrics are the rubrics that are about to be sent, and what is marked by them.
type carriedRubrics struct {
	list []*assessmentpb.CarriedRubric // in the order to send
	uses map[string][]rubricUseRow     // by quiz or assignment
}

type rubricUseRow struct {
	TargetID   string
	QuestionID string
	Purpose    string
	RubricID   string
}

// carryRubrics reads by what the quizzes and assignments are marked: what is published of
// it.
func (s *Service) carryRubrics(ctx context.Context, c *carrying, _ *assessmentpb.ExportActivitiesRequest) error {
	targets := make([]string, 0, len(c.quizzes)+len(c.assigned))
	for _, z := range c.quizzes {
		targets = append(targets, z.ID)
	}
	for _, a := range c.assigned {
		targets = append(targets, a.ID)
	}
	rows, err := s.db.Query(ctx, `
		SELECT u.target_id, u.question_id, u.purpose, u.rubric_id FROM rubric_use u JOIN rubric r ON r.id = u.rubric_id AND r.version > 0 AND r.deleted_at IS NULL
		WHERE u.target_id = ANY ($1) ORDER BY array_position($1, u.target_id), u.question_id, u.purpose LIMIT $2`, targets, maxCarriedQuestions)
	if err != nil {
		return fmt.Errorf("rubrics to take along: %w", err)
	}
	uses, err := pgx.CollectRows(rows, pgx.RowToStructByName[rubricUseRow])
	if err != nil {
		return fmt.Errorf("rubrics to take along: %w", err)
	}
	c.rubrics.uses = map[string][]rubricUseRow{}
	var ids []string
	for _, u := range uses {
		c.rubrics.uses[u.TargetID] = append(c.rubrics.uses[u.TargetID], u)
		ids = append(ids, u.RubricID)
	}
	if len(ids) == 0 {
		return nil
	}
	rows, err = s.db.Query(ctx, `
		SELECT v.rubric_id, v.title, v.content FROM rubric r JOIN rubric_version v ON v.rubric_id = r.id AND v.version = r.version WHERE r.id = ANY ($1) ORDER BY r.id`, ids)
	if err != nil {
		return fmt.Errorf("rubrics to take along: %w", err)
	}
	var rubricID, title string
	var content []byte
	_, err = pgx.ForEachRow(rows, []any{&rubricID, &title, &content}, func() error {
		if c.bytes += len(content); c.bytes > maxCarriedBytes {
			return ErrCarriedTooLarge
		}
		one := &assessmentpb.CarriedRubric{RubricId: rubricID, Title: title, Content: &assessmentpb.RubricContent{}}
		c.rubrics.list = append(c.rubrics.list, one)
		return proto.Unmarshal(content, one.GetContent())
	})
	if err != nil {
		return fmt.Errorf("rubrics to take along: %w", err)
	}
	return nil
}

// usesOf returns by what the questions of a quiz are marked, of those that are taken
// along, as they are called there.
func (c *carrying) usesOf(quizID string, of *assessmentpb.QuizSettings) []*assessmentpb.CarriedRubricUse {
	fixed := map[string]string{}
	eachSlot(of, func(_ string, _ int, slot *assessmentpb.QuizSlot) {
		if q := slot.GetQuestion(); q != nil {
			fixed[q.GetQuestionId()] = c.versions[questionKey{q.GetQuestionId(), q.GetVersion()}]
		}
	})
	var out []*assessmentpb.CarriedRubricUse
	for _, u := range c.rubrics.uses[quizID] {
		called, asked := fixed[u.QuestionID]
		if !asked && c.sent[u.QuestionID] { // one that is drawn
			called = u.QuestionID
		}
		if called != "" {
			out = append(out, &assessmentpb.CarriedRubricUse{QuestionId: called, RubricId: u.RubricID})
		}
	}
	return out
}

// takeRubric holds a rubric to what one is held to that is made.
func (c *carriedIn) takeRubric(path string, one *assessmentpb.CarriedRubric) error {
	if c.rubrics[one.GetRubricId()] != nil {
		c.add(path, "rubric_id", "archive.id_twice", "Give each rubric a name of its own.")
		return nil
	}
	content, err := checkRubric(one.GetContent())
	if err != nil {
		return c.note(path, err)
	}
	if len(c.rubrics) >= maxRubrics {
		c.add(path, "", ErrRubricsFull.Code, ErrRubricsFull.Message)
		return nil
	}
	c.rubrics[one.GetRubricId()] = &rubric{ID: one.GetRubricId(), CourseID: c.head.GetCourseId(), Title: strings.TrimSpace(one.GetTitle()), Draft: content}
	return nil
}

// attachIn notes by what something is marked that is taken in.
func (c *carriedIn) attachIn(path, field string, to rubricTarget, rubricID string) {
	switch {
	case rubricID == "":
	case c.rubrics[rubricID] == nil:
		c.add(path, field, ErrRubricNotFound.Code, "There is no such rubric, or it comes later.")
	case c.marked[to] != "":
		c.add(path, field, "archive.id_twice", "A question is marked by one rubric.")
	default:
		c.marked[to] = rubricID
	}
}

// storeRubrics stores the rubrics that are taken in, published, and what is marked by them.
func (s *Service) storeRubrics(ctx context.Context, tx *pg.Tx, c *carriedIn) error {
	if len(c.rubrics) == 0 {
		return nil
	}
	var ids, titles []string
	var contents [][]byte
	for _, rubricID := range sortedKeys(c.rubrics) {
		r := c.rubrics[rubricID]
		ids, titles, contents = append(ids, r.ID), append(titles, r.Title), append(contents, r.Draft)
	}
	now := s.time()
	for _, sql := range []string{`
		INSERT INTO rubric (id, course_id, title, draft, version, published_revision, created_by, edited_by, created_at, updated_at)
		SELECT r.id, $1, r.title, r.content, 1, 1, $2, $2, $3, $3 FROM unnest($4::text[], $5::text[], $6::bytea[]) AS r (id, title, content)`, `
		INSERT INTO rubric_version (rubric_id, version, title, content, created_by, created_at)
		SELECT r.id, 1, r.title, r.content, $2, $3 FROM unnest($4::text[], $5::text[], $6::bytea[]) AS r (id, title, content) WHERE $1 <> ''`} {
		if _, err := tx.Exec(ctx, sql, c.head.GetCourseId(), c.head.GetAccountId(), now, ids, titles, contents); err != nil {
			return fmt.Errorf("store rubrics: %w", err)
		}
	}
	var targets, questions, purposes, rubrics []string
	for to, rubricID := range c.marked {
		targets, questions, purposes, rubrics = append(targets, to.id), append(questions, to.question), append(purposes, to.purpose), append(rubrics, rubricID)
	}
	if _, err := tx.Exec(ctx, `
		INSERT INTO rubric_use (target_id, question_id, purpose, course_id, rubric_id)
		SELECT u.target_id, u.question_id, u.purpose, $1, u.rubric_id FROM unnest($2::text[], $3::text[], $4::text[], $5::text[]) AS u (target_id, question_id, purpose, rubric_id)`,
		c.head.GetCourseId(), targets, questions, purposes, rubrics); err != nil {
		return fmt.Errorf("attach rubrics: %w", err)
	}
	return nil
}
