package assessment

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/question"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
)

// maxCarriedFindings bounds what is told of an archive.
const maxCarriedFindings = 100

// carriedIn is what is taken in, checked as far as it can be by itself.
type carriedIn struct {
	head        *assessmentpb.ImportActivitiesHead
	categories  []category
	questions   map[string][]written // by category
	inCategory  map[string]bool      // categories that there are
	known       map[string]bool      // questions that there are
	quizzes     []carriedQuiz
	assignments []carriedAssignment
	rubrics     map[string]*rubric      // that there are
	marked      map[rubricTarget]string // by which of them
	media       []string
	count       int
	bytes       int
	findings    []*assessmentpb.CarriedFinding
}

type carriedQuiz struct {
	*assessmentpb.CarriedQuiz

	path  string
	draft draft
}

type carriedAssignment struct {
	*assessmentpb.CarriedAssignment

	settings *assessmentpb.AssignmentSettings
}

func (c *carriedIn) add(path, field, code, hint string) {
	if len(c.findings) < maxCarriedFindings {
		c.findings = append(c.findings, &assessmentpb.CarriedFinding{Path: path, Field: field, Code: code, Hint: hint})
	}
}

// note adds what an error tells, and reports whether there was none. Of others than told
// faults it returns the error.
func (c *carriedIn) note(path string, err error) error {
	f, ok := errors.AsType[*fault.Error](err)
	if err == nil || !ok {
		return err
	}
	if len(f.Fields) == 0 {
		c.add(path, "", f.Code, f.Message)
	}
	for _, one := range f.Fields {
		c.add(path, one.Path, one.Code, one.Hint)
	}
	return nil
}

// ImportActivities implements assessmentpb.CarryServiceServer.
func (h *carryServer) ImportActivities(stream grpc.ClientStreamingServer[assessmentpb.ImportActivitiesRequest, assessmentpb.ImportActivitiesResponse]) error {
	first, err := stream.Recv()
	if errors.Is(err, io.EOF) || err == nil && first.GetHead() == nil {
		return fault.InvalidField("head", "field.required", "The first message says where all goes.")
	}
	if err != nil {
		return err
	}
	c := &carriedIn{head: first.GetHead(), questions: map[string][]written{}, inCategory: map[string]bool{}, known: map[string]bool{}, rubrics: map[string]*rubric{}, marked: map[rubricTarget]string{}}
	for {
		req, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = c.take(req)
		}
		if err != nil {
			return err
		}
	}
	c.checkNamed()
	if len(c.findings) == 0 && !c.head.GetDryRun() {
		ctx := auth.With(stream.Context(), auth.Principal{Account: c.head.GetAccountId()})
		if err := h.service.storeCarried(ctx, c); err != nil {
			return err
		}
	}
	return stream.SendAndClose(&assessmentpb.ImportActivitiesResponse{Findings: c.findings})
}

// take checks one of what is taken in.
func (c *carriedIn) take(req *assessmentpb.ImportActivitiesRequest) error {
	if c.bytes += proto.Size(req); c.bytes > maxCarriedBytes {
		return ErrCarriedTooLarge
	}
	path := req.GetPath()
	switch {
	case req.GetCategory() != nil:
		c.takeCategory(path, req.GetCategory())
	case req.GetQuestion() != nil:
		q := req.GetQuestion()
		if c.count++; c.count > maxCarriedQuestions {
			return ErrCarriedTooLarge
		}
		if c.known[q.GetQuestionId()] {
			c.add(path, "question_id", "archive.id_twice", "Give each question a name of its own.")
			return nil
		}
		c.known[q.GetQuestionId()] = true
		w, err := write("content", q.GetContent(), q.GetTags())
		if err != nil {
			return c.note(path, err)
		}
		w.ID = q.GetQuestionId()
		if q.GetCategoryId() != "" && !c.inCategory[q.GetCategoryId()] {
			c.add(path, "category_id", "category.not_found", "There is no such category.")
			return nil
		}
		named := question.Media(q.GetContent())
		if len(named) > maxPictures {
			c.add(path, "content", "question.too_many_pictures", fmt.Sprintf("A question shows at most %d files.", maxPictures))
		}
		c.media = append(c.media, named...)
		c.questions[q.GetCategoryId()] = append(c.questions[q.GetCategoryId()], w)
	case req.GetQuiz() != nil:
		d, err := newDraft(req.GetQuiz().GetSettings())
		if err != nil {
			return c.note(path, err)
		}
		for _, text := range quizInstructions(d.settings) {
			c.media = append(c.media, question.MediaIn(text)...)
		}
		for i, use := range req.GetQuiz().GetRubrics() {
			field := fmt.Sprintf("rubrics[%d]", i)
			if !c.known[use.GetQuestionId()] {
				c.add(path, field+".question_id", "question.not_found", "There is no such question.")
				continue
			}
			c.attachIn(path, field+".rubric_id", rubricTarget{id: req.GetQuiz().GetQuizId(), question: use.GetQuestionId()}, use.GetRubricId())
		}
		c.quizzes = append(c.quizzes, carriedQuiz{req.GetQuiz(), path, d})
	case req.GetRubric() != nil:
		return c.takeRubric(path, req.GetRubric())
	case req.GetAssignment() != nil:
		settings, err := checkedSettings(req.GetAssignment().GetSettings())
		if err != nil {
			return c.note(path, err)
		}
		if len(settings.GetGroup().GetGroupIds()) > 0 {
			c.add(path, "settings.group.group_ids", "archive.ref", "Groups are of their own course alone.")
		}
		c.media = append(c.media, question.MediaIn(settings.GetInstructions())...)
		assignmentID := req.GetAssignment().GetAssignmentId()
		c.attachIn(path, "rubric_id", rubricTarget{id: assignmentID}, req.GetAssignment().GetRubricId())
		c.attachIn(path, "peer_rubric_id", rubricTarget{id: assignmentID, purpose: purposePeers}, req.GetAssignment().GetPeerRubricId())
		c.assignments = append(c.assignments, carriedAssignment{req.GetAssignment(), settings})
	default:
		c.add(path, "", "field.required", "Say what it is, once.")
	}
	return nil
}

// takeCategory holds a category to what one is held to that is made.
func (c *carriedIn) takeCategory(path string, one *assessmentpb.CarriedCategory) {
	name := strings.Join(strings.Fields(one.GetName()), " ")
	depth := 1
	for at := one.GetParentId(); at != ""; depth++ {
		parent, ok := find(c.categories, at)
		if !ok {
			c.add(path, "parent_id", "category.not_found", "There is no such category, or it comes later.")
			return
		}
		at = parent.ParentID
	}
	switch {
	case c.inCategory[one.GetCategoryId()]:
		c.add(path, "category_id", "archive.id_twice", "Give each category a name of its own.")
	case depth > maxDepth:
		c.add(path, "parent_id", "category.too_deep", fmt.Sprintf("Categories are at most %d deep.", maxDepth))
	case len(c.categories) >= maxCategories:
		c.add(path, "", ErrCategoriesFull.Code, ErrCategoriesFull.Message)
	case slices.ContainsFunc(c.categories, func(other category) bool {
		return other.ParentID == one.GetParentId() && strings.EqualFold(other.Name, name)
	}):
		c.add(path, "name", ErrCategoryExists.Code, ErrCategoryExists.Message)
	default:
		c.inCategory[one.GetCategoryId()] = true
		c.categories = append(c.categories, category{ID: one.GetCategoryId(), CourseID: c.head.GetCourseId(), ParentID: one.GetParentId(), Name: name})
	}
}

// checkNamed holds what quizzes name to what there is.
func (c *carriedIn) checkNamed() {
	ids := map[string]bool{}
	for _, z := range c.quizzes {
		if ids[z.GetQuizId()] {
			c.add(z.path, "quiz_id", "archive.id_twice", "Give each quiz a name of its own.")
		}
		ids[z.GetQuizId()] = true
		for _, q := range sortedKeys(z.draft.fixed) {
			if !c.known[q] {
				c.add(z.path, z.draft.at[q], "question.not_found", "There is no such question.")
			} else if z.draft.fixed[q].GetVersion() != 0 {
				c.add(z.path, z.draft.at[q], "question.not_found", "Questions have one version in an archive.")
			}
		}
		for _, categoryID := range z.draft.categories() {
			if !c.inCategory[categoryID] {
				c.add(z.path, z.draft.at[categoryID], "category.not_found", "There is no such category.")
			}
		}
	}
	if len(c.quizzes) > maxQuizzes || len(c.assignments) > maxAssignments {
		c.add("", "", "activities.too_large", "A course has not so many quizzes and assignments.")
	}
}

func sortedKeys[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// storeCarried stores what was taken in, in one transaction, in place of what an earlier
// try has stored.
func (s *Service) storeCarried(ctx context.Context, c *carriedIn) error {
	if len(c.media) > 0 {
		found, err := s.hold(ctx, c.head.GetMediaCourseId(), c.media)
		if err != nil {
			return err
		}
		for _, mediaID := range c.media {
			if found[mediaID] == nil {
				return fmt.Errorf("carried: %s is not of %s", mediaID, c.head.GetMediaCourseId())
			}
		}
	}
	courseID := c.head.GetCourseId()
	return s.db.InTx(ctx, func(tx *pg.Tx) error {
		if err := s.stage(ctx, tx, courseID); err != nil {
			return err
		}
		if err := s.storeBank(ctx, tx, &copiedQuiz{courseID: courseID, categories: c.categories, questions: c.questions}); err != nil {
			return err
		}
		for _, one := range c.quizzes {
			z := quiz{ID: one.GetQuizId(), CourseID: courseID, Title: strings.TrimSpace(one.GetTitle())}
			if err := s.insertQuiz(ctx, tx, &z, one.draft, ""); err != nil {
				return err
			}
			if !one.GetPublished() {
				continue
			}
			// What could not be published here stays a draft.
			if _, err := s.publishQuiz(ctx, tx, &z, ""); err == nil {
				_, err = tx.Exec(ctx, `UPDATE quiz SET version = $2, published_revision = revision WHERE id = $1`, z.ID, z.Version)
				if err != nil {
					return err
				}
			} else if _, told := errors.AsType[*fault.Error](err); !told {
				return err
			}
		}
		for _, one := range c.assignments {
			a := assignment{ID: one.GetAssignmentId(), CourseID: courseID, Title: strings.TrimSpace(one.GetTitle())}
			if err := s.insertAssignment(ctx, tx, &a, one.settings, ""); err != nil {
				return err
			}
			if !one.GetPublished() {
				continue
			}
			if _, err := s.publishAssignment(ctx, tx, &a, ""); err == nil {
				_, err = tx.Exec(ctx, `UPDATE assignment SET version = $2, published_revision = revision WHERE id = $1`, a.ID, a.Version)
				if err != nil {
					return err
				}
			} else if _, told := errors.AsType[*fault.Error](err); !told {
				return err
			}
		}
		if err := s.storeRubrics(ctx, tx, c); err != nil {
			return err
		}
		return audit.Record(ctx, tx, audit.Entry{Action: "activities.imported", Object: courseID, Course: courseID, After: map[string]any{
			"quizzes": len(c.quizzes), "assignments": len(c.assignments), "questions": c.count, "categories": len(c.categories), "rubrics": len(c.rubrics),
		}})
	})
}

// stage makes room in a course that is not there yet.
func (s *Service) stage(ctx context.Context, tx *pg.Tx, courseID string) error {
	tag, err := tx.Exec(ctx, `UPDATE staged_activities SET staged_at = $2 WHERE course_id = $1`, courseID, s.time())
	if err != nil {
		return fmt.Errorf("stage activities: %w", err)
	}
	if tag.RowsAffected() > 0 {
		return dropStaged(ctx, tx, courseID)
	}
	var others bool
	if err := tx.QueryRow(ctx, `
		SELECT EXISTS (SELECT FROM quiz WHERE course_id = $1) OR EXISTS (SELECT FROM question WHERE course_id = $1)
			OR EXISTS (SELECT FROM assignment WHERE course_id = $1) OR EXISTS (SELECT FROM placement WHERE course_id = $1)`, courseID).Scan(&others); err != nil {
		return fmt.Errorf("stage activities: %w", err)
	}
	if others {
		return ErrNotStaged
	}
	if _, err := tx.Exec(ctx, `INSERT INTO staged_activities (course_id, staged_at) VALUES ($1, $2)`, courseID, s.time()); err != nil {
		return fmt.Errorf("stage activities: %w", err)
	}
	return nil
}

// dropStaged deletes what was put into a course that is not there.
func dropStaged(ctx context.Context, tx *pg.Tx, courseID string) error {
	const quizzes, assignments, questions = `(SELECT id FROM quiz WHERE course_id = $1)`, `(SELECT id FROM assignment WHERE course_id = $1)`, `(SELECT id FROM question WHERE course_id = $1)`
	for _, sql := range []string{
		`DELETE FROM rubric_use WHERE course_id = $1`, `DELETE FROM rubric_version WHERE rubric_id IN (SELECT id FROM rubric WHERE course_id = $1)`, `DELETE FROM rubric WHERE course_id = $1`,
		`DELETE FROM quiz_question WHERE quiz_id IN ` + quizzes, `DELETE FROM quiz_category WHERE quiz_id IN ` + quizzes,
		`DELETE FROM quiz_version WHERE quiz_id IN ` + quizzes, `DELETE FROM quiz WHERE course_id = $1`,
		`DELETE FROM assignment_version WHERE assignment_id IN ` + assignments, `DELETE FROM assignment WHERE course_id = $1`,
		`DELETE FROM question_version WHERE question_id IN ` + questions, `DELETE FROM question WHERE course_id = $1`,
		`DELETE FROM question_category WHERE course_id = $1`,
	} {
		if _, err := tx.Exec(ctx, sql, courseID); err != nil {
			return fmt.Errorf("drop staged activities: %w", err)
		}
	}
	return nil
}

// activitiesImported puts what was taken in where it belongs, or deletes it. It does so
// once: what is not staged is left alone.
func (s *Service) activitiesImported(ctx context.Context, tx *pg.Tx, e *coursespb.ActivitiesImported) error {
	from, to := e.GetStagingCourseId(), e.GetCourseId()
	tag, err := tx.Exec(ctx, `DELETE FROM staged_activities WHERE course_id = $1`, from)
	if err != nil {
		return fmt.Errorf("staged activities: %w", err)
	}
	switch {
	case tag.RowsAffected() == 0 || from == to:
		return nil
	case to == "":
		return dropStaged(ctx, tx, from)
	}
	if err := lockBank(ctx, tx, to); err != nil {
		return err
	}
	// Where the bank has one of that name already, this is another.
	if _, err := tx.Exec(ctx, `
		UPDATE question_category c SET name = left(c.name, 90) || ' (' || n.n || ')' FROM (
			SELECT c.id, (SELECT min(n) FROM generate_series(2, $3) n WHERE NOT EXISTS (
				SELECT FROM question_category o WHERE o.course_id IN ($1, $2) AND o.parent_id IS NULL AND lower(o.name) = lower(left(c.name, 90) || ' (' || n || ')'))) AS n
			FROM question_category c WHERE c.course_id = $1 AND c.parent_id IS NULL AND EXISTS (
				SELECT FROM question_category o WHERE o.course_id = $2 AND o.parent_id IS NULL AND lower(o.name) = lower(c.name))
		) AS n WHERE c.id = n.id`, from, to, maxCategories+1); err != nil {
		return fmt.Errorf("names of categories: %w", err)
	}
	for _, table := range []string{"question_category", "question", "quiz", "assignment", "rubric", "rubric_use"} {
		if _, err := tx.Exec(ctx, `UPDATE `+table+` SET course_id = $2 WHERE course_id = $1`, from, to); err != nil {
			return fmt.Errorf("move staged activities: %w", err)
		}
	}
	return nil
}
